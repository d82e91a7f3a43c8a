// GGUF files against readers that share nothing with the writer: every tensor must decode to s·Q, bit for bit.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { openModel, parseModelConfig } from '../../src/formats';
import { writeGguf } from '../../src/formats/gguf-file';
import { GGUF_TYPES, planGguf, type GgufType } from '../../src/formats/gguf-model';
import { bf16ToFloat32 } from '../../src/formats/half';
import type { MergedModel } from '../../src/formats/merged-model';
import { describeLosses, isExact } from '../../src/formats/tensor-export';
import { readTensor } from '../../src/formats';
import { BLOCKY, randomFolder, randomMerged, trainedWeights, type RandomLinears } from './merged-models';
import { readGguf } from './gguf-reader';
import { temporaryFolder } from './support';

const NO_OPTIONS = { type: null, floatType: null, name: 'test', pairs: [] } as const;

/** llama.cpp's names of the linears in a block. */
const NAMES: Readonly<Record<string, string>> = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

/** Rows of a head as llama.cpp wants them: [2, headDim/2] turned into [headDim/2, 2]. */
function permuted(values: Float32Array, heads: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  const size = values.length / heads / columns;
  for (let head = 0; head < heads; head++) {
    for (let half = 0; half < 2; half++) {
      for (let i = 0; i < size / 2; i++) {
        const from = (head * size + half * (size / 2) + i) * columns;
        out.set(values.subarray(from, from + columns), (head * size + 2 * i + half) * columns);
      }
    }
  }
  return out;
}

const CASES: readonly (RandomLinears & { type: GgufType | null; wide: string; narrow: string })[] = [
  // `wide`: type of linears with 256 inputs, `narrow`: of down_proj with 172.
  { bits: 2, groupSize: -1, scales: 'fp16', type: null, wide: 'Q2_K', narrow: 'F16' },
  { bits: 2, groupSize: -1, scales: 'bf16', type: 'Q3_K', wide: 'Q3_K', narrow: 'F16' },
  { bits: 2, groupSize: -1, scales: 'bf16', type: 'Q4_0', wide: 'Q4_0', narrow: 'F16' },
  { bits: 2, groupSize: 128, scales: 'bf16', type: null, wide: 'Q4_0', narrow: 'F16' },
  { bits: 3, groupSize: -1, scales: 'bf16', type: null, wide: 'Q3_K', narrow: 'F16' },
  { bits: 3, groupSize: 64, scales: 'fp16', type: null, wide: 'Q4_0', narrow: 'F32' },
  { bits: 4, groupSize: -1, scales: 'bf16', type: null, wide: 'Q4_0', narrow: 'F16' },
  { bits: 4, groupSize: 0, scales: 'bf16', type: 'Q4_K', wide: 'Q4_K', narrow: 'F16' },
  { bits: 4, groupSize: -1, scales: 'bf16', type: 'Q4_K', wide: 'Q4_K', narrow: 'F16' },
  { bits: 4, groupSize: 32, scales: 'fp16', type: 'Q4_1', wide: 'Q4_1', narrow: 'F32' },
  { bits: 4, groupSize: 32, scales: 'fp16', type: 'Q8_0', wide: 'Q8_0', narrow: 'F32' },
  { bits: 4, groupSize: 16, scales: 'bf16', type: null, wide: 'F16', narrow: 'F16' },
  { bits: 5, groupSize: -1, scales: 'bf16', type: null, wide: 'Q8_0', narrow: 'F32' },
  { bits: 8, groupSize: 64, scales: 'bf16', type: null, wide: 'Q8_0', narrow: 'F32' },
  { bits: 4, groupSize: -1, scales: 'float32', type: 'F32', wide: 'F32', narrow: 'F32' },
  { bits: 2, groupSize: -1, scales: 'fp16', asymmetric: true, type: null, wide: 'Q2_K', narrow: 'F32' },
  { bits: 2, groupSize: 64, scales: 'bf16', asymmetric: true, type: null, wide: 'Q4_0', narrow: 'F16' },
  { bits: 2, groupSize: -1, scales: 'bf16', asymmetric: true, type: 'Q3_K', wide: 'Q3_K', narrow: 'F16' },
  { bits: 3, groupSize: -1, scales: 'bf16', asymmetric: true, type: null, wide: 'Q4_0', narrow: 'F16' },
  { bits: 3, groupSize: 32, scales: 'bf16', asymmetric: true, type: 'Q4_1', wide: 'Q4_1', narrow: 'F16' },
  { bits: 3, groupSize: -1, scales: 'bf16', asymmetric: true, type: 'Q4_K', wide: 'Q4_K', narrow: 'F16' },
  { bits: 4, groupSize: -1, scales: 'bf16', asymmetric: true, type: null, wide: 'Q4_K', narrow: 'F32' },
  { bits: 4, groupSize: 128, scales: 'fp16', asymmetric: true, type: null, wide: 'Q8_0', narrow: 'F32' },
  { bits: 7, groupSize: 0, scales: 'bf16', asymmetric: true, type: null, wide: 'Q8_0', narrow: 'F32' },
  { bits: 8, groupSize: -1, scales: 'float32', asymmetric: true, type: null, wide: 'F32', narrow: 'F32' },
];

for (const { type, wide, narrow, ...linears } of CASES) {
  const { bits, groupSize, scales } = linears;
  test(`${String(bits)} bits, groups of ${String(groupSize)}, ${scales} scales${linears.asymmetric === true ? ', zero points,' : ''} as ${type ?? 'the smallest'}: decodes to s·Q`, async (t) => {
    const folder = temporaryFolder(t);
    const { shape } = parseModelConfig(BLOCKY, 'config.json');
    await randomFolder(folder, BLOCKY, shape);
    const merged = await randomMerged(folder, linears);
    const plan = await planGguf(merged, { ...NO_OPTIONS, type });
    const file = path.join(folder, 'model.gguf');
    await writeGguf(file, plan.metadata, plan.tensors);
    assert.ok(isExact(plan.exports), describeLosses(plan.exports).join());

    const read = await readGguf(file);
    const stored = new Map(plan.exports.map((entry) => [entry.name, entry.stored]));
    for (const [name, tensor] of merged.quantized) {
      const short = name.replace('model.layers.0.', '');
      const expected = await trainedWeights(tensor);
      const heads = short === 'self_attn.q_proj' ? 8 : short === 'self_attn.k_proj' ? 4 : 0;
      const found = read.tensors.get(`blk.0.${NAMES[short]!}.weight`)!;
      assert.deepEqual(found.shape, [tensor.inputs, tensor.outputs]);
      assert.deepEqual(found.values, heads > 0 ? permuted(expected, heads, tensor.inputs) : expected, name);
      assert.equal(stored.get(`${name}.weight`), tensor.inputs === 172 ? narrow : wide, name);
    }
    // What is not quantized is in the file as it was, bf16 as bf16 and vectors in float32.
    assert.equal(read.tensors.size, merged.tensors.length);
    const others = { 'model.embed_tokens': 'token_embd', 'model.norm': 'output_norm', lm_head: 'output' };
    for (const [name, translated] of Object.entries(others)) {
      const original = (await readTensor(path.join(folder, 'model.safetensors'), `${name}.weight`)) as Uint16Array;
      assert.deepEqual(read.tensors.get(`${translated}.weight`)!.values, bf16ToFloat32(original), name);
    }
    assert.equal(read.metadata['general.architecture'], 'llama');
    assert.equal(read.metadata['llama.attention.head_count_kv'], 4);
  });
}

test('mixed bits: every linear gets its own type, and decodes to s·Q', async (t) => {
  const folder = temporaryFolder(t);
  await randomFolder(folder, BLOCKY, parseModelConfig(BLOCKY, 'config.json').shape);
  const of = (bits: number): Promise<MergedModel> => randomMerged(folder, { bits, groupSize: -1, scales: 'bf16' });
  const [two, four, eight] = [await of(2), await of(4), await of(8)];
  const quantized = new Map(four.quantized);
  const [up, value, output] = ['mlp.up_proj', 'self_attn.v_proj', 'self_attn.o_proj'].map((n) => `model.layers.0.${n}`);
  quantized.set(up!, two.quantized.get(up!)!);
  quantized.set(value!, eight.quantized.get(value!)!);
  quantized.delete(output!);
  const plan = await planGguf({ ...four, quantized }, NO_OPTIONS);
  const stored = new Map(plan.exports.map((entry) => [entry.name, entry.stored]));
  const types = [up, value, output, 'model.layers.0.mlp.gate_proj'].map((name) => stored.get(`${name!}.weight`));
  assert.deepEqual(types, ['Q2_K', 'Q8_0', 'BF16', 'Q4_0']);
  assert.ok(isExact(plan.exports));
  const file = path.join(folder, 'model.gguf');
  await writeGguf(file, plan.metadata, plan.tensors);
  const { tensors } = await readGguf(file);
  for (const [name, short] of [
    [up, 'ffn_up'],
    [value, 'attn_v'],
    ['model.layers.0.mlp.gate_proj', 'ffn_gate'],
  ] as const) {
    const expected = await trainedWeights(quantized.get(name!)!);
    assert.deepEqual(tensors.get(`blk.0.${short}.weight`)!.values, expected, name);
  }
});

test('a scale that is no half-precision number is said to be rounded, and is', async (t) => {
  const folder = temporaryFolder(t);
  await randomFolder(folder, BLOCKY, parseModelConfig(BLOCKY, 'config.json').shape);
  const merged = await randomMerged(folder, { bits: 4, groupSize: -1, scales: 'float32' });
  const plan = await planGguf(merged, NO_OPTIONS);
  assert.equal(isExact(plan.exports), false);
  assert.match(
    describeLosses(plan.exports).join(),
    /scales are rounded to half precision \(fp16\) in 6 tensors, by 0\.0\d+ % at most/,
  );
  const file = path.join(folder, 'model.gguf');
  await writeGguf(file, plan.metadata, plan.tensors);
  const read = await readGguf(file);
  const tensor = merged.quantized.get('model.layers.0.mlp.up_proj')!;
  const expected = await trainedWeights(tensor);
  read.tensors.get('blk.0.ffn_up.weight')!.values.forEach((value, i) => {
    // Half a unit in the last of 11 bits.
    assert.ok(Math.abs(value - expected[i]!) <= Math.abs(expected[i]!) * 2 ** -11);
  });
});

test('rotary scaling, head width and unquantized linears', async (t) => {
  const folder = temporaryFolder(t);
  const config = {
    ...BLOCKY,
    hidden_size: 128,
    rope_scaling: {
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 32,
    },
    attention_bias: true,
  };
  await randomFolder(folder, config, parseModelConfig(config, 'config.json').shape);
  const model = await openModel(folder);
  const plan = await planGguf({ shape: model.shape, tensors: model.tensors, quantized: new Map() }, NO_OPTIONS);
  const file = path.join(folder, 'model.gguf');
  await writeGguf(file, plan.metadata, plan.tensors);
  const read = await readGguf(file);
  assert.equal(read.metadata['llama.attention.key_length'], 32);
  // Wavelengths 2π·10000^(i/16): below 32/4 kept, above 32/1 divided by 8, between them blended.
  const factors = read.tensors.get('rope_freqs.weight')!.values;
  assert.equal(factors.length, 16);
  assert.equal(factors[0], 1);
  assert.equal(factors[15], 8);
  const wavelength = 2 * Math.PI * 10000 ** (2 / 16);
  const share = (32 / wavelength - 1) / 3;
  assert.ok(Math.abs(factors[2]! - 1 / ((1 - share) / 8 + share)) < 1e-6);
  for (const [name, heads] of [
    ['q', 8],
    ['k', 4],
    ['v', 0],
  ] as const) {
    for (const [kind, columns] of [
      ['weight', 128],
      ['bias', 1],
    ] as const) {
      const stem = `model.layers.0.self_attn.${name}_proj.${kind}`;
      const original = bf16ToFloat32((await readTensor(path.join(folder, 'model.safetensors'), stem)) as Uint16Array);
      const expected = heads > 0 ? permuted(original, heads, columns) : original;
      assert.deepEqual(read.tensors.get(`blk.0.attn_${name}.${kind}`)!.values, expected, stem);
    }
  }
});

test('every type has a name once', () => {
  assert.equal(new Set(GGUF_TYPES).size, GGUF_TYPES.length);
});
