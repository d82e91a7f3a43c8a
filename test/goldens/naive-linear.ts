// The control method `naive` of the reference, no method of the schema, from the engine's own operations: a linear of rank 0
// for the quantized part and products in float32 for the low-rank part, Y = X·(s∘Q(W/s) + C)ᵀ with C = γ·A·B in weight units.

import type { FormulasAddon, LinearRequest, LinearResult } from '../../native/binding/formulas';

interface Array2 {
  readonly values: Float32Array;
  readonly shape: readonly [number, number];
}

function sum(first: Float32Array, second: Float32Array, factor: number): Float32Array {
  return first.map((value, i) => value + factor * second[i]!);
}

/** `request` as for the linear of rank 0 that stores clip(round(W/s)); `a`, `b` and `gamma` of the low-rank term. One scale per
 *  row, linear domain. */
export function naiveLinear(
  formulas: FormulasAddon,
  request: LinearRequest,
  lowRank: { readonly a: Float32Array; readonly b: Float32Array; readonly rank: number; readonly gamma: number },
): Pick<LinearResult, 'y' | 'dX' | 'dA' | 'dB' | 'dTheta'> {
  const { rows: m, columns: n, tokens, weight } = request;
  const { rank, gamma } = lowRank;
  const quantized = formulas.linear(request);
  const product = (a: Array2, transposeA: boolean, b: Array2, transposeB: boolean): Array2 => ({
    values: formulas.multiply({
      a: a.values,
      aShape: a.shape,
      transposeA,
      b: b.values,
      bShape: b.shape,
      transposeB,
      threads: request.threads,
    }),
    shape: [a.shape[transposeA ? 1 : 0], b.shape[transposeB ? 0 : 1]],
  });
  const a: Array2 = { values: lowRank.a, shape: [m, rank] };
  const b: Array2 = { values: lowRank.b, shape: [rank, n] };
  const x: Array2 = { values: request.x, shape: [tokens, n] };
  const dY: Array2 = { values: request.dY, shape: [tokens, m] };

  const u = product(x, false, b, true);
  const v = product(dY, false, a, false);
  const g = product(dY, true, x, false);
  // The scale also divides the weight inside the rounding, so its gradient is LSQ's: Σ G∘Q, which the linear has, minus
  // Σ G∘M∘W/s. Its own mask is all ones here, since the stored integers are clipped; M is that of round(W/s).
  const { qmin, qmax } = grid(request.quantization.bits);
  const dTheta = quantized.dTheta.map((value, i) => {
    let inside = 0;
    const s = request.theta[i]!;
    for (let j = 0; j < n; j++) {
      const scaled = Math.fround(weight[i * n + j]! / s);
      // Half to even at the ends: qmin − ½ rounds up to the even qmin, qmax + ½ up to the even qmax + 1.
      if (scaled >= qmin - 0.5 && scaled < qmax + 0.5) inside += g.values[i * n + j]! * scaled;
    }
    return value - inside;
  });
  return {
    y: sum(quantized.y, product(u, false, a, true).values, gamma),
    dX: sum(quantized.dX, product(v, false, b, false).values, gamma),
    dA: product(dY, true, u, false).values.map((value) => gamma * value),
    dB: product(v, true, x, false).values.map((value) => gamma * value),
    dTheta,
  };
}

function grid(bits: number): { qmin: number; qmax: number } {
  return { qmin: -(2 ** (bits - 1)), qmax: 2 ** (bits - 1) - 1 };
}
