// What llama.cpp computes on a CPU with a file of quantized blocks, plainly: its decoder with the inputs of every matrix rounded as its
// kernels round them before they multiply. In double precision but for those roundings. Source: ggml's quantize_row_q8_0,
// quantize_row_q8_K and the table of vec_dot types in ggml-cpu.c; the decoder is build_llama of llama-model.cpp.
import { bf16Bits, fp16Bits, fp16Value } from '../../src/formats/half';
import type { ModelShape } from '../../src/formats';

export interface BlockModel {
  readonly shape: ModelShape;
  /** By llama.cpp's name, row-major [outputs, inputs], rows of queries and keys in llama.cpp's order. */
  readonly tensors: ReadonlyMap<string, { readonly type: number; readonly values: Float32Array }>;
}

type Round = (x: Float64Array) => Float64Array;

/** d = max|x| / 127 of each 32 values, kept in half precision; integers by the unrounded 1/d. */
const q80: Round = (x) => {
  const out = new Float64Array(x.length);
  for (let begin = 0; begin < x.length; begin += 32) {
    const block = x.subarray(begin, begin + 32);
    const largest = block.reduce((a, b) => Math.max(a, Math.abs(Math.fround(b))), 0);
    const d = Math.fround(largest / 127);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    const kept = fp16Value(fp16Bits(d));
    block.forEach((value, i) => {
      out[begin + i] = kept * roundHalfEven(Math.fround(Math.fround(value) * inverse));
    });
  }
  return out;
};

/** The value of largest magnitude of each 256 becomes −127; d stays float32. */
const q8k: Round = (x) => {
  const out = new Float64Array(x.length);
  for (let begin = 0; begin < x.length; begin += 256) {
    const block = x.subarray(begin, begin + 256).map(Math.fround);
    const largest = block.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
    if (largest === 0) continue;
    const inverse = Math.fround(-127 / largest);
    const d = Math.fround(1 / inverse);
    block.forEach((value, i) => {
      out[begin + i] = d * Math.min(127, roundHalfEven(Math.fround(inverse * value)));
    });
  }
  return out;
};

function roundHalfEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}

const asFloat = (bits: number): number => new Float32Array(Uint32Array.of(bits << 16).buffer)[0] ?? 0;

/** How the input of a matrix of a type is rounded (vec_dot_type), by number of ggml_type. */
const ROUNDINGS: ReadonlyMap<number, Round> = new Map<number, Round>([
  // F32, F16, BF16
  [0, (x) => x],
  [1, (x) => x.map((value) => fp16Value(fp16Bits(value)))],
  [30, (x) => x.map((value) => asFloat(bf16Bits(value)))],
  // Q4_0, Q8_0
  [2, q80],
  [8, q80],
  // Q2_K, Q3_K, Q4_K
  [10, q8k],
  [11, q8k],
  [12, q8k],
]);

/** `exact`: nothing is rounded; `rounded`: the inputs of matrices; `float32`: those, and sums of products as well. */
export type Arithmetic = 'exact' | 'rounded' | 'float32';

/** Logits [tokens][vocabulary]. */
export function blockLogits(model: BlockModel, ids: Int32Array, arithmetic: Arithmetic): Float64Array[] {
  const { shape, tensors } = model;
  const { heads, kvHeads, headDim, layers, hiddenSize } = shape;
  const tensor = (name: string) => {
    const found = tensors.get(`${name}.weight`);
    if (found === undefined) throw new Error(`no tensor ${name}.weight`);
    return found;
  };
  const times = (name: string, x: Float64Array): Float64Array => {
    const { type, values } = tensor(name);
    const round = ROUNDINGS.get(type);
    if (round === undefined) throw new Error(`${name} is of type ${String(type)}`);
    const input = arithmetic === 'exact' ? x : round(x);
    const kept = arithmetic === 'float32' ? Math.fround : (sum: number) => sum;
    return Float64Array.from({ length: values.length / x.length }, (_, row) => {
      let sum = 0;
      for (let k = 0, at = row * x.length; k < x.length; k++, at++) sum = kept(sum + values[at]! * input[k]!);
      return sum;
    });
  };
  const normed = (name: string, x: Float64Array): Float64Array => {
    const { values } = tensor(name);
    const scale = 1 / Math.sqrt(x.reduce((a, b) => a + b * b, 0) / x.length + shape.rmsNormEpsilon);
    return x.map((value, i) => value * scale * values[i]!);
  };
  const plus = (x: Float64Array, y: Float64Array): Float64Array => x.map((value, i) => value + y[i]!);
  // Rotates neighbours: that is what the order of the rows is for.
  const rotated = (x: Float64Array, position: number): Float64Array => {
    const out = x.slice();
    for (let at = 0; at < x.length; at += 2) {
      const angle = position * shape.ropeTheta ** (-(at % headDim) / headDim);
      const [c, s] = [Math.cos(angle), Math.sin(angle)];
      out[at] = x[at]! * c - x[at + 1]! * s;
      out[at + 1] = x[at]! * s + x[at + 1]! * c;
    }
    return out;
  };
  const keys: Float64Array[][] = Array.from({ length: layers }, () => []);
  const columns: Float64Array[][] = Array.from({ length: layers }, () => []);
  const attended = (query: Float64Array, layer: number): Float64Array => {
    const out = new Float64Array(heads * headDim);
    for (let head = 0; head < heads; head++) {
      const from = Math.floor(head / (heads / kvHeads)) * headDim;
      const scores = keys[layer]!.map((key) => {
        let sum = 0;
        for (let i = 0; i < headDim; i++) sum += query[head * headDim + i]! * key[from + i]!;
        return sum / Math.sqrt(headDim);
      });
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const total = weights.reduce((a, b) => a + b, 0);
      weights.forEach((weight, t) => {
        for (let i = 0; i < headDim; i++) out[head * headDim + i]! += (weight / total) * columns[layer]![t]![from + i]!;
      });
    }
    return out;
  };
  return Array.from(ids, (id, position) => {
    const table = tensor('token_embd').values;
    let x: Float64Array = Float64Array.from(table.subarray(id * hiddenSize, (id + 1) * hiddenSize));
    for (let layer = 0; layer < layers; layer++) {
      const at = (name: string): string => `blk.${String(layer)}.${name}`;
      const input = normed(at('attn_norm'), x);
      keys[layer]!.push(rotated(times(at('attn_k'), input), position));
      columns[layer]!.push(times(at('attn_v'), input));
      const query = rotated(times(at('attn_q'), input), position);
      x = plus(x, times(at('attn_output'), attended(query, layer)));
      const second = normed(at('ffn_norm'), x);
      const gate = times(at('ffn_gate'), second);
      const up = times(at('ffn_up'), second);
      const product = gate.map((value, i) => (value / (1 + Math.exp(-value))) * up[i]!);
      x = plus(x, times(at('ffn_down'), product));
    }
    const head = tensors.has('output.weight') ? 'output' : 'token_embd';
    return times(head, normed('output_norm', x));
  });
}
