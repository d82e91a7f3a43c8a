// Exports to Hugging Face folders, unpacked by small readers written from the formats' own descriptions (compressed-tensors'
// pack-quantized, GPTQ checkpoint v1): every weight must be s·Q. All files are parsed with the npm package `safetensors` as well.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import safetensors from 'safetensors';
import { parseModelConfig, readHeader, readTensor, writeSafetensors } from '../../src/formats';
import { planCompressedTensors } from '../../src/formats/compressed-tensors';
import { planDequantized } from '../../src/formats/dequantized-model';
import type { FolderContents } from '../../src/formats/folder-export';
import { planGptq } from '../../src/formats/gptq';
import { bf16ToFloat32, fp16ToFloat32 } from '../../src/formats/half';
import type { MergedModel } from '../../src/formats/merged-model';
import { planPackedIntegers } from '../../src/formats/packed-integers';
import { describeLosses, isExact } from '../../src/formats/tensor-export';
import { BLOCKY, randomFolder, randomMerged, trainedWeights, type RandomLinears } from './merged-models';
import { temporaryFolder } from './support';

/** Small, and even enough for GPTQ. */
const EVEN = { ...BLOCKY, hidden_size: 64, intermediate_size: 128, num_attention_heads: 2, num_key_value_heads: 1 };
/** Rows of 76 end within a word. */
const ODD = { ...EVEN, intermediate_size: 76 };

async function model(
  t: TestContext,
  linears: RandomLinears,
  config: Readonly<Record<string, unknown>> = EVEN,
): Promise<[MergedModel, string]> {
  const folder = temporaryFolder(t);
  await randomFolder(folder, config, parseModelConfig(config, 'config.json').shape);
  return [await randomMerged(folder, linears), folder];
}

async function written(folder: string, contents: FolderContents): Promise<string> {
  assert.equal(contents.obstacle, null);
  const file = path.join(folder, 'export.safetensors');
  await writeSafetensors(file, contents.tensors, { metadata: { format: 'pt' } });
  // The sizes promised are those written.
  const header = await readHeader(file);
  const bytes = [...header.tensors.values()].reduce((sum, tensor) => sum + tensor.bytes, 0);
  assert.equal(
    contents.exports.reduce((sum, entry) => sum + entry.bytes, 0),
    bytes,
  );
  // That package takes __metadata__, which transformers insists on, for a tensor: it gets a file without.
  const bare = path.join(folder, 'bare.safetensors');
  await writeSafetensors(bare, contents.tensors);
  const parsed = new safetensors.SafeTensor(readFileSync(bare));
  assert.deepEqual([...parsed.metadata.keys()].sort(), [...header.tensors.keys()].sort());
  for (const [name, { shape }] of header.tensors) assert.deepEqual([...parsed.metadata.get(name)!.shape], [...shape]);
  return file;
}

async function floats(file: string, name: string): Promise<Float32Array> {
  const { dtype } = (await readHeader(file)).tensors.get(name)!;
  const data = await readTensor(file, name);
  if (dtype === 'F32') return data as Float32Array;
  return dtype === 'F16' ? fp16ToFloat32(data as Uint16Array) : bf16ToFloat32(data as Uint16Array);
}

for (const linears of [
  { bits: 4, groupSize: -1, scales: 'bf16' },
  { bits: 4, groupSize: 64, scales: 'bf16' },
  { bits: 2, groupSize: 32, scales: 'bf16' },
  { bits: 3, groupSize: 0, scales: 'bf16' },
  { bits: 6, groupSize: -1, scales: 'bf16' },
  { bits: 8, groupSize: 64, scales: 'bf16' },
  { bits: 2, groupSize: 64, scales: 'bf16', asymmetric: true },
  { bits: 3, groupSize: -1, scales: 'bf16', asymmetric: true },
  { bits: 4, groupSize: 32, scales: 'bf16', asymmetric: true },
  { bits: 4, groupSize: 0, scales: 'bf16', asymmetric: true },
  { bits: 8, groupSize: -1, scales: 'bf16', asymmetric: true },
] as readonly RandomLinears[]) {
  const { bits, groupSize, asymmetric = false } = linears;
  const label = `${String(bits)} bits, groups of ${String(groupSize)}${asymmetric ? ', zero points' : ''}`;

  test(`compressed-tensors, ${label}: unpacks to s·Q`, async (t) => {
    const [merged, folder] = await model(t, linears, ODD);
    const contents = await planCompressedTensors(merged);
    assert.ok(isExact(contents.exports), describeLosses(contents.exports).join());
    const file = await written(folder, contents);
    const config = contents.config['quantization_config'] as {
      config_groups: Record<string, { targets: string[]; weights: Record<string, unknown> }>;
      ignore: string[];
    };
    assert.deepEqual(config.ignore, ['lm_head']);
    for (const [name, tensor] of merged.quantized) {
      const group = Object.values(config.config_groups).find(
        ({ targets }) => targets.includes(name) || targets.includes('Linear'),
      )!;
      const {
        num_bits: width,
        strategy,
        group_size: size,
      } = group.weights as { num_bits: number; strategy: string; group_size: number | null };
      const shape = [...((await readTensor(file, `${name}.weight_shape`)) as BigInt64Array)].map(Number);
      assert.deepEqual(shape, [tensor.outputs, tensor.inputs]);
      const words = (await readTensor(file, `${name}.weight_packed`)) as Int32Array;
      const scales = await floats(file, `${name}.weight_scale`);
      const perWord = Math.floor(32 / width);
      const zeros = asymmetric
        ? ((await readTensor(file, `${name}.weight_zero_point`)) as Int32Array)
        : new Int32Array();
      const zeroShape = asymmetric ? (await readHeader(file)).tensors.get(`${name}.weight_zero_point`)!.shape : [];
      assert.equal((group.weights as { symmetric: boolean }).symmetric, !asymmetric);
      const perRow = Math.ceil(shape[1]! / perWord);
      const unpacked = Float32Array.from({ length: shape[0]! * shape[1]! }, (_, i) => {
        const [row, column] = [Math.floor(i / shape[1]!), i % shape[1]!];
        const word = words[row * perRow + Math.floor(column / perWord)]! >>> 0;
        const code = Math.floor(word / 2 ** (width * (column % perWord))) % 2 ** width;
        const scale = strategy === 'channel' ? scales[row]! : scales[Math.floor(i / size!)]!;
        if (!asymmetric) return scale * (code - 2 ** (width - 1));
        // Zero points lie down the rows, as many to a word as weights along them.
        const groups = zeroShape[1]!;
        const group = Math.floor((i % shape[1]!) / (shape[1]! / groups));
        const zeroWord = zeros[Math.floor(row / perWord) * groups + group]! >>> 0;
        return scale * (code - (Math.floor(zeroWord / 2 ** (width * (row % perWord))) % 2 ** width));
      });
      assert.deepEqual(unpacked, await trainedWeights(tensor), name);
    }
    assert.deepEqual(
      await floats(file, 'lm_head.weight'),
      await floats(path.join(folder, 'model.safetensors'), 'lm_head.weight'),
    );
  });

  test(`GPTQ, ${label}: unpacks to s·Q`, async (t) => {
    const [merged, folder] = await model(t, linears);
    const contents = await planGptq(merged);
    const file = await written(folder, contents);
    const config = contents.config['quantization_config'] as {
      bits: number;
      group_size: number;
      checkpoint_format: string;
    };
    assert.equal(config.checkpoint_format, asymmetric ? 'gptq_v2' : 'gptq');
    for (const [name, tensor] of merged.quantized) {
      const { outputs, inputs } = tensor;
      const width = config.bits;
      const qweight = (await readTensor(file, `${name}.qweight`)) as Int32Array;
      const qzeros = (await readTensor(file, `${name}.qzeros`)) as Int32Array;
      const groupOf = (await readTensor(file, `${name}.g_idx`)) as Int32Array;
      const scales = await floats(file, `${name}.scales`);
      const groups = config.group_size < 0 ? 1 : inputs / config.group_size;
      assert.equal(scales.length, groups * outputs);
      // A column's bits one after the other down the rows of words; of zero points along the row.
      const bitsAt = (word: (i: number) => number, from: number): number => {
        let value = 0;
        for (let bit = 0; bit < width; bit++) value |= ((word((from + bit) >> 5) >> ((from + bit) & 31)) & 1) << bit;
        return value;
      };
      const unpacked = Float32Array.from({ length: outputs * inputs }, (_, i) => {
        const [row, column] = [Math.floor(i / inputs), i % inputs];
        const group = groupOf[column]!;
        const code = bitsAt((word) => qweight[word * outputs + row]!, column * width);
        const zero = bitsAt((word) => qzeros[group * ((outputs * width) / 32) + word]!, row * width);
        return scales[group * outputs + row]! * (code - (asymmetric ? zero : zero + 1));
      });
      assert.deepEqual(unpacked, await trainedWeights(tensor), name);
    }
  });
}

test('GPTQ words of symmetric 4-bit zero points are 0x77777777', async (t) => {
  const [merged, folder] = await model(t, { bits: 4, groupSize: -1, scales: 'fp16' });
  const file = await written(folder, await planGptq(merged));
  const zeros = (await readTensor(file, 'model.layers.0.mlp.up_proj.qzeros')) as Int32Array;
  assert.ok(zeros.every((word) => word === 0x77777777));
});

test('GPTQ refuses by name what it cannot hold', async (t) => {
  const [merged] = await model(t, { bits: 4, groupSize: -1, scales: 'fp16' }, ODD);
  assert.match((await planGptq(merged)).obstacle!, /gate_proj is 76 × 64; GPTQ wants multiples of 32/);
});

test('mixed bits and groups: a group of settings each, and linears left in float are ignored', async (t) => {
  const [four] = await model(t, { bits: 4, groupSize: 64, scales: 'bf16' });
  const [eight, folder] = await model(t, { bits: 8, groupSize: -1, scales: 'bf16' });
  const quantized = new Map(four.quantized);
  quantized.set('model.layers.0.mlp.up_proj', eight.quantized.get('model.layers.0.mlp.up_proj')!);
  quantized.delete('model.layers.0.self_attn.o_proj');
  const merged = { ...eight, quantized };
  const config = (await planCompressedTensors(merged)).config['quantization_config'] as {
    config_groups: Record<string, { targets: string[] }>;
    ignore: string[];
  };
  assert.deepEqual(config.ignore, ['model.layers.0.self_attn.o_proj', 'lm_head']);
  assert.deepEqual(
    Object.values(config.config_groups).map(({ targets }) => targets.length),
    [5, 1],
  );
  const gptq = await planGptq(merged);
  assert.deepEqual(gptq.config['quantization_config'], {
    ...(gptq.config['quantization_config'] as object),
    bits: 8,
    group_size: 64,
    dynamic: { '-:^model\\.layers\\.0\\.self_attn\\.o_proj$': {} },
  });
  await written(folder, gptq);
});

test('dequantized: the smallest type that loses nothing, or the one asked for', async (t) => {
  const cases = [
    // bf16 has 8 significant bits: one of the scale is enough for −2 … 1 only.
    { linears: { bits: 2, groupSize: -1, scales: 'bf16' }, type: null, stored: 'BF16', exact: true },
    { linears: { bits: 4, groupSize: 64, scales: 'bf16' }, type: null, stored: 'F16', exact: true },
    { linears: { bits: 4, groupSize: -1, scales: 'float32' }, type: null, stored: 'F32', exact: true },
    { linears: { bits: 4, groupSize: -1, scales: 'float32' }, type: 'BF16', stored: 'BF16', exact: false },
  ] as const;
  for (const { linears, type, stored, exact } of cases) {
    const [merged, folder] = await model(t, linears, ODD);
    const contents = await planDequantized(merged, type);
    const file = await written(folder, contents);
    assert.deepEqual(new Set(contents.exports.map((entry) => entry.stored)), new Set([stored]));
    assert.equal(isExact(contents.exports), exact);
    for (const [name, tensor] of merged.quantized) {
      const values = await floats(file, `${name}.weight`);
      const expected = await trainedWeights(tensor);
      if (exact) assert.deepEqual(values, expected);
      else values.forEach((value, i) => assert.ok(Math.abs(value - expected[i]!) <= Math.abs(expected[i]!) * 2 ** -8));
    }
  }
});

test('our own layout holds codes and scales as they were merged', async (t) => {
  const [merged, folder] = await model(t, { bits: 3, groupSize: 64, scales: 'float32' }, EVEN);
  const contents = await planPackedIntegers(merged);
  assert.ok(isExact(contents.exports));
  const file = await written(folder, contents);
  for (const [name, tensor] of merged.quantized) {
    assert.deepEqual(await readTensor(file, `${name}.codes`), await tensor.codes());
    assert.deepEqual(await readTensor(file, `${name}.scales`), await tensor.scales());
  }
});
