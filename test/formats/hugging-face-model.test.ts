import assert from 'node:assert/strict';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { openModel, writeSafetensors, type TensorToWrite } from '../../src/formats';
import { LLAMA, refuses, tensorsFor, temporaryFolder, writeJson, writeModel, writeSharded } from './support';

const INDEX = 'model.safetensors.index.json';
const SECOND = 'model-00002-of-00002.safetensors';

test('a folder with one file', async (context) => {
  const model = await openModel(await writeModel(temporaryFolder(context), LLAMA));
  // 2 × 32·16 (embedding, head) + 2 × (16·16·2 + 2·8·16 + 3·16·24 + 2·16) + 16
  assert.equal(model.parameterCount, 4944);
  assert.equal(model.weightBytes, 2 * 4944);
  assert.deepEqual(model.warnings, []);
  assert.equal(model.tensors[0]?.name, 'model.embed_tokens.weight');
  assert.equal(model.tensors.at(-1)?.name, 'lm_head.weight');
  for (const { file, offset, bytes } of model.tensors) assert.ok(offset + bytes <= statSync(file).size);
});

test('shards give the same tensors as one file', async (context) => {
  const folder = temporaryFolder(context);
  const one = await openModel(await writeModel(path.join(folder, 'one'), LLAMA));
  const two = await openModel(await writeSharded(path.join(folder, 'two'), LLAMA));
  const strip = (tensors: typeof one.tensors): unknown =>
    tensors.map(({ name, dtype, shape, bytes }) => ({ name, dtype, shape, bytes }));
  assert.deepEqual(strip(two.tensors), strip(one.tensors));
  assert.equal(new Set(two.tensors.map(({ file }) => file)).size, 2);
  assert.equal(two.files.length, 4);
});

test('float16, float32 and all families', async (context) => {
  const folder = temporaryFolder(context);
  for (const dtype of ['F32', 'F16'] as const) {
    const model = await openModel(await writeModel(path.join(folder, dtype), LLAMA, tensorsFor(LLAMA, dtype)));
    assert.ok(model.tensors.every((tensor) => tensor.dtype === dtype));
  }
  for (const [architecture, type] of [
    ['MistralForCausalLM', 'mistral'],
    ['Qwen2ForCausalLM', 'qwen2'],
    ['Qwen3ForCausalLM', 'qwen3'],
  ]) {
    const config = { ...LLAMA, architectures: [architecture], model_type: type, head_dim: 6 };
    const model = await openModel(await writeModel(path.join(folder, architecture!), config));
    assert.equal(model.shape.architecture, type);
    const names = model.tensors.map(({ name }) => name);
    assert.equal(names.includes('model.layers.1.self_attn.q_proj.bias'), type === 'qwen2');
    assert.equal(names.includes('model.layers.1.self_attn.k_norm.weight'), type === 'qwen3');
  }
});

test('what is wrong with a folder is said by name', async (context) => {
  const folder = temporaryFolder(context);
  const at = (name: string): string => path.join(folder, name);
  await refuses(() => openModel(at('none')), /none: no such folder/);
  writeJson(at('empty/x.json'), {});
  await refuses(() => openModel(at('empty')), /config\.json: no such file/);

  await writeModel(at('broken-config'), LLAMA);
  writeFileSync(at('broken-config/config.json'), '{"hidden_size": 1,');
  await refuses(() => openModel(at('broken-config')), /config\.json: not valid JSON/);
  writeFileSync(at('broken-config/config.json'), '{"a": 1, "a": 2}');
  await refuses(() => openModel(at('broken-config')), /config\.json: the key "a" is there twice/);
  writeFileSync(at('broken-config/config.json'), Buffer.from([0x7b, 0xff, 0x7d]));
  await refuses(() => openModel(at('broken-config')), /config\.json: not valid UTF-8/);

  await writeModel(at('no-tokenizer'), LLAMA);
  rmSync(at('no-tokenizer/tokenizer.json'));
  const error = await refuses(() => openModel(at('no-tokenizer')), /tokenizer\.json: no such file/);
  assert.equal(error.code, 'TokenizerMissing');
  await openModel(at('no-tokenizer'), { tokenizer: false });
});

test('weights in other formats: what to do is said', async (context) => {
  const folder = temporaryFolder(context);
  const hintWith = async (name: string): Promise<string> => {
    const place = await writeModel(path.join(folder, name), LLAMA, null);
    writeFileSync(path.join(place, name), '');
    return (await refuses(() => openModel(place), /holds neither model\.safetensors nor/)).hint ?? '';
  };
  assert.match(await hintWith('pytorch_model.bin'), /pytorch_model\.bin is a pickle.*convert.*save_pretrained/);
  assert.match(await hintWith('model-q4.gguf'), /model-q4\.gguf is a GGUF file.*original/);
  assert.match(await hintWith('model-00001-of-00003.safetensors'), /not their index/);
  assert.match(await hintWith('readme'), /Download the whole model folder/);
});

test('hostile indexes are not followed', async (context) => {
  const folder = await writeSharded(temporaryFolder(context), LLAMA);
  const index = path.join(folder, INDEX);
  const good = JSON.parse(readFileSync(index, 'utf8')) as { weight_map: Record<string, string> };
  const outside = [
    '../x.safetensors',
    '/etc/x.safetensors',
    'a/../b.safetensors',
    'C:x.safetensors',
    '..\\x.safetensors',
    '.safetensors',
    'x.bin',
    'a\0.safetensors',
    '',
    7,
    null,
  ];
  for (const shard of outside) {
    writeJson(index, { weight_map: { ...good.weight_map, 'model.norm.weight': shard } });
    await refuses(() => openModel(folder), /weight_map places "model\.norm\.weight" in .*only names/);
  }
  for (const weightMap of [null, [], 'x', {}, undefined]) {
    writeJson(index, { weight_map: weightMap });
    await refuses(() => openModel(folder), /weight_map is/);
  }
  writeJson(index, { weight_map: { ...good.weight_map, 'model.norm.weight': 'model-00001-of-00002.safetensors' } });
  assert.match(
    (await openModel(folder)).warnings.join(),
    /holds tensors that .* does not place there: model\.norm\.weight/,
  );
  writeJson(index, { weight_map: { ...good.weight_map, extra: SECOND } });
  await refuses(() => openModel(folder), /places "extra" in model-00002-of-00002\.safetensors, which does not hold it/);
  copyFileSync(path.join(folder, SECOND), path.join(folder, 'model-00003.safetensors'));
  writeJson(index, { weight_map: { ...good.weight_map, 'model.norm.weight': 'model-00003.safetensors' } });
  await refuses(() => openModel(folder), /is in two shards: .*00002.* and .*00003/);
  writeJson(index, good);
  rmSync(path.join(folder, SECOND));
  await refuses(() => openModel(folder), /1 of 2 shards are not in the folder: model-00002-of-00002\.safetensors/);
});

test('a shard that was cut short or has grown', async (context) => {
  const folder = await writeSharded(temporaryFolder(context), LLAMA);
  const shard = path.join(folder, SECOND);
  const { size } = statSync(shard);
  appendFileSync(shard, 'x');
  await refuses(() => openModel(folder), /00002-of-00002\.safetensors: 1 bytes at the end belong to no tensor/);
  for (const bytes of [size - 1, 100, 8, 3, 0]) {
    truncateSync(shard, bytes);
    assert.equal((await refuses(() => openModel(folder), /00002-of-00002\.safetensors: /)).code, 'SafetensorsInvalid');
  }
});

test('tensors that do not fit the config', async (context) => {
  const folder = temporaryFolder(context);
  let count = 0;
  const refused = async (
    config: Readonly<Record<string, unknown>>,
    tensors: readonly TensorToWrite[],
    ...patterns: RegExp[]
  ): Promise<string> => {
    const place = await writeModel(path.join(folder, String(count++)), config, tensors);
    return (await refuses(() => openModel(place), ...patterns)).hint ?? '';
  };
  const all = tensorsFor(LLAMA);
  const without = (name: string): TensorToWrite[] => all.filter((tensor) => tensor.name !== name);
  const zeros = (name: string, ...shape: number[]): TensorToWrite => ({
    name,
    dtype: 'BF16',
    shape,
    data: new Uint16Array(shape.reduce((a, b) => a * b, 1)),
  });
  const instead = (tensor: TensorToWrite): TensorToWrite[] => [...without(tensor.name), tensor];

  await refused(
    LLAMA,
    without('model.layers.1.mlp.up_proj.weight'),
    /1 of 21 tensors are missing: model\.layers\.1\.mlp\.up_proj\.weight/,
  );
  assert.match(await refused(LLAMA, without('lm_head.weight'), /lm_head\.weight/), /"tie_word_embeddings": true/);
  await refused(
    LLAMA,
    instead(zeros('model.norm.weight', 17)),
    /model\.norm\.weight is \[17\], config\.json asks for \[16\]/,
  );
  await refused(
    LLAMA,
    instead({ name: 'model.norm.weight', dtype: 'I8', shape: [16], data: new Int8Array(16) }),
    /model\.norm\.weight is I8; weights must be F32, BF16 or F16/,
  );
  await refused(
    LLAMA,
    instead({ name: 'model.norm.weight', dtype: 'F64', shape: [16], data: new Float64Array(16) }),
    /is F64/,
  );
  await refused(
    LLAMA,
    [...all, zeros('model.layers.0.self_attn.q_proj.bias', 16)],
    /q_proj\.bias is a parameter that config\.json does not ask for/,
  );
  await refused(LLAMA, [...all, zeros('lm_head.bias', 32)], /lm_head\.bias is a parameter/);
  await refused(
    { ...LLAMA, num_hidden_layers: 1 },
    all,
    /there are weights of 2 blocks, and config\.json says "num_hidden_layers": 1/,
  );
  await refused(
    { ...LLAMA, tie_word_embeddings: true },
    all,
    /lm_head\.weight differs from model\.embed_tokens\.weight/,
  );
  await refused(
    { ...LLAMA, vocab_size: 33 },
    all,
    /embed_tokens\.weight is \[32, 16\], config\.json asks for \[33, 16\]/,
    /lm_head/,
  );
  const bare = all.map((tensor) => ({ ...tensor, name: tensor.name.replace('model.', '') }));
  await refused(LLAMA, bare, /20 of 21 tensors are missing/);
  const packed = [...without('model.layers.0.mlp.up_proj.weight'), zeros('model.layers.0.mlp.up_proj.qweight', 2)];
  assert.match(await refused(LLAMA, packed, /up_proj/), /quantized already/);
});

test('tensors that may be there', async (context) => {
  const folder = temporaryFolder(context);
  const tied = { ...LLAMA, tie_word_embeddings: true };
  const extra: TensorToWrite[] = [
    { name: 'model.layers.0.self_attn.rotary_emb.inv_freq', dtype: 'F32', shape: [2], data: new Float32Array(2) },
    { name: 'lm_head.weight', dtype: 'BF16', shape: [32, 16], data: new Uint16Array(32 * 16) },
  ];
  const copy = await openModel(await writeModel(path.join(folder, 'copy'), tied, [...tensorsFor(tied), ...extra]));
  assert.deepEqual(copy.warnings, [], 'tables and a copy of the embedding are no news');
  assert.equal(copy.tensors.length, 20);
  const more: TensorToWrite = { name: 'model.vision.weight', dtype: 'U8', shape: [1], data: new Uint8Array(1) };
  const other = await openModel(await writeModel(path.join(folder, 'more'), tied, [...tensorsFor(tied), more]));
  assert.match(other.warnings.join(), /1 tensors that the decoder does not use are ignored: model\.vision\.weight/);
});

test('the hash is of the contents, and sees a change of one bit', async (context) => {
  const folder = temporaryFolder(context);
  const one = await writeModel(path.join(folder, 'one'), LLAMA);
  const other = await writeModel(path.join(folder, 'other'), LLAMA);
  const hash = await (await openModel(one)).hash();
  assert.match(hash, /^[0-9a-f]{64}$/);
  assert.equal(await (await openModel(other)).hash(), hash);
  const changed = tensorsFor(LLAMA);
  (changed[3]!.data as Uint16Array)[5] = 1;
  await writeSafetensors(path.join(other, 'model.safetensors'), changed);
  assert.notEqual(await (await openModel(other)).hash(), hash);
});

const REAL = [
  '../shared/data/models/stories260K',
  '../shared/data/models/babyllama936K',
  'samples/first-run/model',
  '../shared/models/tiny',
];
for (const folder of REAL) {
  test(`a real model: ${folder}`, { skip: existsSync(folder) ? false : `${folder} is not there` }, async () => {
    const model = await openModel(folder);
    assert.deepEqual(model.warnings, []);
    const known: Readonly<Record<string, number>> = {
      stories260K: 260_032,
      babyllama936K: 936_448,
      model: 3_148_224,
      tiny: 3_148_224,
    };
    assert.equal(model.parameterCount, known[path.basename(folder)]);
  });
}
