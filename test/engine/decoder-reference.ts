// A decoder written out plainly in float64, one token and one head after the other: what transformers' modelling files of
// LLaMA, Mistral, Qwen2 and Qwen3 compute. Slow, and without anything in common with the engine.

import type { ModelShape, RopeScaling } from '../../src/formats/model-shape';
import type { NamedTensor } from '../goldens/engine-runs';

type Vector = number[];

export class ReferenceDecoder {
  private readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float64Array }>;

  constructor(
    private readonly shape: ModelShape,
    tensors: readonly NamedTensor[],
  ) {
    this.tensors = new Map(
      tensors.map(({ name, shape: size, data }) => [name, { shape: size, data: Float64Array.from(data) }]),
    );
  }

  /** The numbers of a tensor, to be read and changed. */
  numbers(name: string): Float64Array {
    const tensor = this.tensors.get(name);
    if (tensor === undefined) throw new Error(name);
    return tensor.data;
  }

  /** Logits of every position of one sequence, [length][vocabSize]. */
  logits(tokens: ArrayLike<number>): Vector[] {
    const { shape } = this;
    const embedding = this.numbers('model.embed_tokens.weight');
    const { hiddenSize } = shape;
    let x = Array.from(tokens, (token) => [...embedding.slice(token * hiddenSize, (token + 1) * hiddenSize)]);
    for (let layer = 0; layer < shape.layers; layer++) {
      const name = `model.layers.${String(layer)}`;
      const attended = this.attention(
        `${name}.self_attn`,
        x.map((row) => this.norm(`${name}.input_layernorm.weight`, row)),
      );
      x = x.map((row, t) => added(row, attended[t] ?? []));
      x = x.map((row) =>
        added(row, this.mlp(`${name}.mlp`, this.norm(`${name}.post_attention_layernorm.weight`, row))),
      );
    }
    const head = shape.tiedEmbeddings ? 'model.embed_tokens' : 'lm_head';
    return x.map((row) => this.linear(head, this.norm('model.norm.weight', row)));
  }

  /** Mean cross-entropy of each token from those before it. */
  loss(tokens: ArrayLike<number>): number {
    const logits = this.logits(tokens);
    let sum = 0;
    for (let t = 0; t + 1 < tokens.length; t++) {
      const row = logits[t] ?? [];
      const most = Math.max(...row);
      const total = row.reduce((all, value) => all + Math.exp(value - most), 0);
      sum += most + Math.log(total) - (row[tokens[t + 1] ?? 0] ?? 0);
    }
    return sum / (tokens.length - 1);
  }

  private attention(name: string, x: readonly Vector[]): Vector[] {
    const { heads, kvHeads, headDim, slidingWindow, qkNorm } = this.shape;
    const headsOf = (kind: 'q' | 'k', count: number): Vector[][] =>
      x.map((row, t) => {
        const flat = this.linear(`${name}.${kind}_proj`, row);
        return Array.from({ length: count }, (_, head) => {
          const own = flat.slice(head * headDim, (head + 1) * headDim);
          return this.rotated(qkNorm ? this.norm(`${name}.${kind}_norm.weight`, own) : own, t);
        });
      });
    const queries = headsOf('q', heads);
    const keys = headsOf('k', kvHeads);
    const values = x.map((row) => this.linear(`${name}.v_proj`, row));
    return x.map((_, t) => {
      const out: Vector = [];
      for (let head = 0; head < heads; head++) {
        const shared = Math.floor(head / (heads / kvHeads));
        const first = slidingWindow === null ? 0 : Math.max(0, t - slidingWindow + 1);
        const scores = keys
          .slice(first, t + 1)
          .map((key) => Math.exp(dot(queries[t]?.[head] ?? [], key[shared] ?? []) / Math.sqrt(headDim)));
        const total = scores.reduce((a, b) => a + b, 0);
        for (let i = 0; i < headDim; i++) {
          const column = shared * headDim + i;
          out.push(scores.reduce((sum, score, s) => sum + (score / total) * (values[first + s]?.[column] ?? 0), 0));
        }
      }
      return this.linear(`${name}.o_proj`, out);
    });
  }

  private mlp(name: string, x: Vector): Vector {
    const gate = this.linear(`${name}.gate_proj`, x);
    const up = this.linear(`${name}.up_proj`, x);
    return this.linear(
      `${name}.down_proj`,
      gate.map((value, i) => (value / (1 + Math.exp(-value))) * (up[i] ?? 0)),
    );
  }

  private linear(name: string, x: Vector): Vector {
    const weight = this.numbers(`${name}.weight`);
    const bias = this.tensors.get(`${name}.bias`)?.data;
    return Array.from({ length: weight.length / x.length }, (_, row) => {
      const from = row * x.length;
      return x.reduce((sum, value, i) => sum + value * (weight[from + i] ?? 0), bias?.[row] ?? 0);
    });
  }

  private norm(name: string, x: Vector): Vector {
    const weight = this.numbers(name);
    const scale = 1 / Math.sqrt(dot(x, x) / x.length + this.shape.rmsNormEpsilon);
    return x.map((value, i) => value * scale * (weight[i] ?? 0));
  }

  /** RoPE on halves: component i turns with component i + headDim / 2. */
  private rotated(x: Vector, position: number): Vector {
    const half = x.length / 2;
    return x.map((value, i) => {
      const angle = position * frequency(i % half, this.shape);
      const other = i < half ? -(x[i + half] ?? 0) : (x[i - half] ?? 0);
      return value * Math.cos(angle) + other * Math.sin(angle);
    });
  }
}

function frequency(i: number, { headDim, ropeTheta, ropeScaling }: ModelShape): number {
  return scaled(ropeTheta ** ((-2 * i) / headDim), ropeScaling);
}

function scaled(value: number, scaling: RopeScaling): number {
  if (scaling.type === 'none') return value;
  if (scaling.type === 'linear') return value / scaling.factor;
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalMaxPositions } = scaling;
  // Turns within the original context: few ones are slowed down, many stay, and between them it is blended.
  const turns = (originalMaxPositions * value) / (2 * Math.PI);
  const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
  return kept * value + ((1 - kept) * value) / factor;
}

const dot = (a: Vector, b: Vector): number => a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);
const added = (a: Vector, b: Vector): Vector => a.map((value, i) => value + (b[i] ?? 0));
