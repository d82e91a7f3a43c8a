// GPTQ's safetensors layout, symmetric, checkpoint format v1 (zero points stored minus one): what AutoGPTQ, GPTQModel, ExLlama,
// vLLM and SGLang read. One width and one group size hold for the whole file.
import { floatParameter, noContents, TORCH_NAMES, type FolderContents, type FolderTensor } from './folder-export';
import { float32ToFp16 } from './half';
import { quantizedWeight, scaleLoss, type MergedModel } from './merged-model';
import { wordRows, wordsPerRow } from './packed-words';
import { columnsPerScale, scalesPerRow, type QuantizedTensor } from './quantized-tensor';

export async function planGptq(model: MergedModel): Promise<FolderContents> {
  const linears = [...model.quantized.values()];
  const odd = linears.find(({ inputs, outputs }) => inputs % 32 !== 0 || outputs % 32 !== 0);
  if (odd !== undefined) {
    return noContents(`${odd.name} is ${String(odd.outputs)} × ${String(odd.inputs)}; GPTQ wants multiples of 32`);
  }
  const most = Math.max(2, ...linears.map(({ bits }) => bits));
  // 2, 3, 4 and 8 bits are in use; what lies between is widened, which changes no number.
  const width = most <= 4 ? most : 8;
  const groupSize = commonGroup(linears);
  if (groupSize === null)
    return noContents('its linears have group sizes that do not divide each other; GPTQ has one for all');
  const all: FolderTensor[] = [];
  for (const source of model.tensors) {
    const linear = quantizedWeight(model, source);
    all.push(linear === null ? await floatParameter(source, 'F16') : await packed(linear, width, groupSize));
  }
  const floats = model.tensors
    .filter(({ name, shape }) => shape.length === 2 && name.startsWith('model.layers.'))
    .map(({ name }) => name.replace(/\.weight$/, ''))
    .filter((name) => !model.quantized.has(name));
  return {
    obstacle: null,
    tensors: all.flatMap(({ tensors }) => tensors),
    exports: all.map(({ exported }) => exported),
    config: {
      torch_dtype: TORCH_NAMES.F16,
      quantization_config: {
        quant_method: 'gptq',
        bits: width,
        group_size: groupSize,
        sym: true,
        desc_act: false,
        true_sequential: true,
        static_groups: false,
        damp_percent: 0,
        lm_head: false,
        checkpoint_format: 'gptq',
        meta: { quantizer: ['lr-qat-studio'] },
        // Linears that are left as they are, as regular expressions; readers without this key cannot load such a file.
        ...(floats.length === 0
          ? {}
          : { dynamic: Object.fromEntries(floats.map((name) => [`-:^${name.replaceAll('.', '\\.')}$`, {}])) }),
      },
    },
    warnings:
      floats.length === 0
        ? []
        : ['some linears are not quantized: only readers that know the key "dynamic" can load it'],
  };
}

/** Rows that are turned at a time: a line of the cache. */
const TILE = 16;

/** The largest group into which the scales of all linears can be repeated; −1: a row; null: there is none. */
function commonGroup(linears: readonly QuantizedTensor[]): number | null {
  const groups = linears.map(({ groupSize }) => groupSize).filter((size) => size > 0);
  if (groups.length === 0) return -1;
  const smallest = Math.min(...groups);
  const fits = linears.every(({ inputs }) => inputs % smallest === 0) && groups.every((size) => size % smallest === 0);
  return fits ? smallest : null;
}

async function packed(tensor: QuantizedTensor, width: number, groupSize: number): Promise<FolderTensor> {
  const { name, outputs, inputs } = tensor;
  const words = wordsPerRow(width, inputs);
  const groups = groupSize < 0 ? 1 : inputs / groupSize;
  const zeroWords = wordsPerRow(width, outputs);
  return {
    tensors: [
      {
        name: `${name}.qweight`,
        dtype: 'I32',
        shape: [words, outputs],
        data: () => transposed(wordRows(tensor, width), outputs, words),
      },
      { name: `${name}.qzeros`, dtype: 'I32', shape: [groups, zeroWords], data: () => zeros(width, groups, outputs) },
      {
        name: `${name}.scales`,
        dtype: 'F16',
        shape: [groups, outputs],
        data: async () => scaleColumns(tensor, await tensor.scales(), groups),
      },
      {
        name: `${name}.g_idx`,
        dtype: 'I32',
        shape: [inputs],
        data: () => Int32Array.from({ length: inputs }, (_, k) => (groupSize < 0 ? 0 : Math.floor(k / groupSize))),
      },
    ],
    exported: {
      name: `${name}.weight`,
      stored: `int${String(width)}`,
      bytes: 4 * (words * outputs + groups * zeroWords + inputs) + 2 * groups * outputs,
      loss: scaleLoss(await tensor.scales(), 'fp16'),
    },
  };
}

/** Columns of words that are turned into rows at a time. */
const STRIPE = 32;

/** [rows, columns] → [columns, rows] in parts of some columns, each valid until the next is asked for. */
async function* transposed(
  wordsOfRows: Promise<Uint32Array>,
  rows: number,
  columns: number,
): AsyncIterable<Uint32Array> {
  const words = await wordsOfRows;
  const out = new Uint32Array(STRIPE * rows);
  for (let first = 0; first < columns; first += STRIPE) {
    const count = Math.min(STRIPE, columns - first);
    for (let r0 = 0; r0 < rows; r0 += TILE) {
      const end = Math.min(rows, r0 + TILE);
      for (let c = 0; c < count; c++) {
        const to = c * rows;
        for (let r = r0; r < end; r++) out[to + r] = words[r * columns + first + c] ?? 0;
      }
    }
    yield out.subarray(0, count * rows);
  }
}

/** Zero points 2^(width−1) minus one, packed along the outputs. */
function zeros(width: number, groups: number, outputs: number): Uint32Array {
  const perRow = wordsPerRow(width, outputs);
  const row = new Uint32Array(perRow);
  const value = 2 ** (width - 1) - 1;
  for (let k = 0; k < outputs; k++) {
    for (let bit = 0; bit < width; bit++) {
      const at = k * width + bit;
      row[at >> 5] = ((row[at >> 5] ?? 0) | (((value >> bit) & 1) << (at & 31))) >>> 0;
    }
  }
  const all = new Uint32Array(groups * perRow);
  for (let group = 0; group < groups; group++) all.set(row, group * perRow);
  return all;
}

/** Half-precision scales [groups, outputs], repeated where the linear has fewer. */
function scaleColumns(tensor: QuantizedTensor, scales: Float32Array, groups: number): Uint16Array {
  const { outputs, inputs } = tensor;
  const half = float32ToFp16(scales);
  const perRow = scalesPerRow(tensor);
  const columns = columnsPerScale(tensor);
  const size = inputs / groups;
  const out = new Uint16Array(groups * outputs);
  for (let first = 0; first < outputs; first += TILE) {
    for (let group = 0; group < groups; group++) {
      const own = Math.floor((group * size) / columns);
      const end = Math.min(outputs, first + TILE);
      for (let row = first; row < end; row++) {
        out[group * outputs + row] = half[row * perRow + own] ?? 0;
      }
    }
  }
  return out;
}
