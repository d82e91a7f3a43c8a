// What an export format does to one parameter.

/** Numbers that a format cannot hold as they are. */
export interface Loss {
  /** What is rounded: scales of a linear, its products s·Q, or numbers that were not quantized. */
  readonly rounds: 'scales' | 'products' | 'numbers';
  readonly to: 'fp16' | 'bf16';
  /** `scales are rounded to half precision (fp16)`. */
  readonly what: string;
  /** How many of how many; null: not counted. */
  readonly count: number | null;
  readonly of: number;
  /** Largest |stored − trained| / trained; null: not measured. */
  readonly largestError: number | null;
}

export interface TensorExport {
  /** Hugging Face name of the parameter. */
  readonly name: string;
  /** How it is stored: a type of the format. */
  readonly stored: string;
  readonly bytes: number;
  /** null: the numbers that a reader gets are those that were trained. */
  readonly loss: Loss | null;
}

export function isExact(tensors: readonly TensorExport[]): boolean {
  return tensors.every(({ loss }) => loss === null);
}

/** Losses of all tensors by kind, as sentences. */
export function describeLosses(tensors: readonly TensorExport[]): string[] {
  const kinds = new Map<string, { tensors: number; count: number | null; of: number; error: number | null }>();
  for (const { loss } of tensors) {
    if (loss === null) continue;
    const sum = kinds.get(loss.what) ?? { tensors: 0, count: 0, of: 0, error: null };
    kinds.set(loss.what, {
      tensors: sum.tensors + 1,
      count: sum.count === null || loss.count === null ? null : sum.count + loss.count,
      of: sum.of + loss.of,
      error: loss.largestError === null ? sum.error : Math.max(sum.error ?? 0, loss.largestError),
    });
  }
  return [...kinds].map(([what, { tensors: number, count, of, error }]) => {
    const counted = count === null ? '' : `${String(count)} of ${String(of)} `;
    const by = error === null ? '' : `, by ${(100 * error).toPrecision(2)} % at most`;
    return `${counted}${what} in ${String(number)} ${number === 1 ? 'tensor' : 'tensors'}${by}`;
  });
}
