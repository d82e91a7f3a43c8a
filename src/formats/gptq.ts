// GPTQ's safetensors layout: what AutoGPTQ, GPTQModel, ExLlama, vLLM and SGLang read. Symmetric as checkpoint format v1, which all
// know and which stores zero points minus one; with zero points as v2, which stores them as they are (a zero point of 0 minus one would
// run into its neighbours). One width and one group size hold for the whole file.
import { floatParameter, noContents, TORCH_NAMES, type FolderContents, type FolderTensor } from './folder-export';
import { float32ToFp16 } from './half';
import { quantizedWeight, scaleLoss, type MergedModel } from './merged-model';
import { joinedWords, wordRows, wordsPerRow } from './packed-words';
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
  const symmetric = linears.every(({ zeroPoints }) => zeroPoints === undefined);
  const less = symmetric ? 1 : 0;
  const all: FolderTensor[] = [];
  for (const source of model.tensors) {
    const linear = quantizedWeight(model, source);
    all.push(linear === null ? await floatParameter(source, 'F16') : await packed(linear, width, groupSize, less));
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
        sym: symmetric,
        desc_act: false,
        true_sequential: true,
        static_groups: false,
        damp_percent: 0,
        lm_head: false,
        checkpoint_format: symmetric ? 'gptq' : 'gptq_v2',
        meta: { quantizer: ['lr-qat-studio'] },
        // Linears that are left as they are, as regular expressions; readers without this key cannot load such a file.
        ...(floats.length === 0
          ? {}
          : { dynamic: Object.fromEntries(floats.map((name) => [`-:^${name.replaceAll('.', '\\.')}$`, {}])) }),
      },
    },
    warnings: [
      ...(floats.length === 0
        ? []
        : ['some linears are not quantized: only readers that know the key "dynamic" can load it']),
      ...(symmetric
        ? []
        : [
            'asymmetric weights are in checkpoint format gptq_v2, which GPTQModel, vLLM and SGLang read, older readers not',
          ]),
    ],
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

/** @param less what zero points are stored minus */
async function packed(tensor: QuantizedTensor, width: number, groupSize: number, less: number): Promise<FolderTensor> {
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
      {
        name: `${name}.qzeros`,
        dtype: 'I32',
        shape: [groups, zeroWords],
        data: () => zeros(tensor, width, groups, less),
      },
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

/** Zero points, those of a symmetric grid in its middle, minus `less`: packed along the outputs. */
async function zeros(tensor: QuantizedTensor, width: number, groups: number, less: number): Promise<Uint32Array> {
  const { outputs, inputs } = tensor;
  const own = await tensor.zeroPoints?.();
  const perRow = wordsPerRow(width, outputs);
  const scalesOfRow = scalesPerRow(tensor);
  const columns = columnsPerScale(tensor);
  const all = new Uint32Array(groups * perRow);
  const values = new Uint8Array(outputs).fill(2 ** (width - 1) - less);
  for (let group = 0; group < groups; group++) {
    const place = Math.floor((group * (inputs / groups)) / columns);
    if (own !== undefined)
      for (let row = 0; row < outputs; row++) values[row] = (own[row * scalesOfRow + place] ?? 0) - less;
    all.set(joinedWords(values, width), group * perRow);
  }
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
