// compressed-tensors, format pack-quantized: what vLLM and llm-compressor write and read. Its kernels know 4 and 8 bits; fewer are
// widened, which changes no number.
import {
  floatParameter,
  rowScales,
  sixteenBits,
  TORCH_NAMES,
  type FolderContents,
  type FolderTensor,
} from './folder-export';
import { quantizedWeight, type MergedModel } from './merged-model';
import { joinedWords, wordParts, wordsPerRow } from './packed-words';
import type { QuantizedTensor } from './quantized-tensor';

export async function planCompressedTensors(model: MergedModel): Promise<FolderContents> {
  const type = sixteenBits(model);
  const all: FolderTensor[] = [];
  for (const source of model.tensors) {
    const linear = quantizedWeight(model, source);
    all.push(linear === null ? await floatParameter(source, type) : await packed(linear, type));
  }
  return {
    obstacle: null,
    tensors: all.flatMap(({ tensors }) => tensors),
    exports: all.map(({ exported }) => exported),
    config: { torch_dtype: TORCH_NAMES[type], quantization_config: quantizationConfig(model) },
    warnings: kernelWarnings(model),
  };
}

function widthOf({ bits }: QuantizedTensor): 4 | 8 {
  return bits <= 4 ? 4 : 8;
}

async function packed(tensor: QuantizedTensor, type: 'F16' | 'BF16'): Promise<FolderTensor> {
  const { name, outputs, inputs } = tensor;
  const width = widthOf(tensor);
  const words = wordsPerRow(width, inputs);
  const { perRow, bits, loss } = await rowScales(tensor, type);
  const zeros = tensor.zeroPoints === undefined ? null : [wordsPerRow(width, outputs), perRow];
  return {
    tensors: [
      {
        name: `${name}.weight_packed`,
        dtype: 'I32',
        shape: [outputs, words],
        data: () => wordParts(tensor, width),
      },
      {
        name: `${name}.weight_scale`,
        dtype: type,
        shape: [outputs, perRow],
        data: async () => (await rowScales(tensor, type)).bits,
      },
      ...(zeros === null
        ? []
        : [
            {
              name: `${name}.weight_zero_point`,
              dtype: 'I32' as const,
              shape: zeros,
              data: () => packedZeroPoints(tensor, width, perRow),
            },
          ]),
      {
        name: `${name}.weight_shape`,
        dtype: 'I64',
        shape: [2],
        data: BigInt64Array.of(BigInt(outputs), BigInt(inputs)),
      },
    ],
    exported: {
      name: `${name}.weight`,
      stored: `int${String(width)}`,
      bytes: outputs * words * 4 + bits.byteLength + 16 + (zeros ?? [0]).reduce((a, b) => a * b, 4),
      loss,
    },
  };
}

/** Zero points packed along the outputs, [words, scales of a row]. */
async function packedZeroPoints(tensor: QuantizedTensor, width: number, perRow: number): Promise<Uint32Array> {
  const own = (await tensor.zeroPoints?.()) ?? new Uint8Array();
  const words = wordsPerRow(width, tensor.outputs);
  const out = new Uint32Array(words * perRow);
  for (let group = 0; group < perRow; group++) {
    const column = Uint8Array.from({ length: tensor.outputs }, (_, row) =>
      tensor.groupSize === 0 ? (own[0] ?? 0) : (own[row * perRow + group] ?? 0),
    );
    for (const [word, value] of joinedWords(column, width).entries()) out[word * perRow + group] = value;
  }
  return out;
}

/** One group of settings for all linears that share bits and group size. */
function quantizationConfig(model: MergedModel): Record<string, unknown> {
  const groups = new Map<string, QuantizedTensor[]>();
  for (const tensor of model.quantized.values()) {
    const key = `${String(widthOf(tensor))} ${String(tensor.groupSize > 0 ? tensor.groupSize : -1)} ${String(tensor.zeroPoints === undefined)}`;
    groups.set(key, [...(groups.get(key) ?? []), tensor]);
  }
  const linears = model.tensors
    .filter(({ name, shape }) => shape.length === 2 && name !== 'model.embed_tokens.weight')
    .map(({ name }) => name.replace(/\.weight$/, ''));
  const ignore = linears.filter((name) => !model.quantized.has(name));
  if (!ignore.includes('lm_head')) ignore.push('lm_head');
  const configGroups = [...groups.values()].map((members, i) => {
    const [first] = members;
    return [
      `group_${String(i)}`,
      {
        targets: groups.size === 1 ? ['Linear'] : members.map(({ name }) => name),
        weights: first === undefined ? null : weightArguments(first),
        input_activations: null,
        output_activations: null,
      },
    ];
  });
  return {
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    quantization_status: 'compressed',
    global_compression_ratio: null,
    kv_cache_scheme: null,
    ignore,
    config_groups: Object.fromEntries(configGroups) as Record<string, unknown>,
  };
}

function weightArguments(tensor: QuantizedTensor): Record<string, unknown> {
  const grouped = tensor.groupSize > 0;
  return {
    num_bits: widthOf(tensor),
    type: 'int',
    symmetric: tensor.zeroPoints === undefined,
    strategy: grouped ? 'group' : 'channel',
    group_size: grouped ? tensor.groupSize : null,
    dynamic: false,
    actorder: null,
    block_structure: null,
    observer: 'minmax',
    observer_kwargs: {},
  };
}

/** vLLM's Marlin kernels; other readers have no such limits. */
function kernelWarnings({ quantized }: MergedModel): string[] {
  const all = [...quantized.values()];
  const widths = all.some(({ inputs, outputs }) => inputs % 128 !== 0 || outputs % 64 !== 0);
  const groups = all.find(({ groupSize }) => groupSize > 0 && ![32, 64, 128].includes(groupSize));
  return [
    ...(widths
      ? ['vLLM’s fast kernels want input widths in multiples of 128 and output widths in multiples of 64']
      : []),
    ...(groups === undefined
      ? []
      : [`vLLM’s fast kernels know groups of 32, 64 and 128, not ${String(groups.groupSize)}`]),
  ];
}
