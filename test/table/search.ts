// Learning rates by climbing: one rate after the other is doubled or halved for as long as that helps.

/** Peak learning rates of one method, by their names in the experiment file. */
export interface Rates {
  readonly lowRank?: number;
  readonly scales?: number;
  readonly weights?: number;
}

export type RateName = keyof Rates;

/** Factors of two away from the start, at most: a rate that still helps there is a mistake of the start. */
const FARTHEST = 6;

/** The rates that came out best, and what they came to.
 *
 *  @param start where to begin; has every name
 *  @param names the rates to find, the one that matters most first
 *  @param loss what rates come to, lower is better; NaN counts as worst
 */
export async function climb(
  start: Rates,
  names: readonly RateName[],
  loss: (rates: Rates) => Promise<number>,
): Promise<{ rates: Rates; loss: number }> {
  let best = { rates: start, loss: worstIfNaN(await loss(start)) };
  for (const name of names) {
    const from = start[name];
    if (from === undefined) throw new Error(`the start lacks a rate '${name}'`);
    for (const sign of [1, -1]) {
      const before = best.loss;
      for (let steps = 1; steps <= FARTHEST; ++steps) {
        const rates = { ...best.rates, [name]: rounded(from * 2 ** (sign * steps)) };
        const reached = worstIfNaN(await loss(rates));
        if (reached >= best.loss) break;
        best = { rates, loss: reached };
      }
      // Up helped: down from the start is on the other side of the hill.
      if (best.loss < before) break;
    }
  }
  return best;
}

const worstIfNaN = (value: number) => (Number.isNaN(value) ? Infinity : value);
/** Two digits, as a person would write a rate: names of runs are made of it. */
const rounded = (rate: number) => Number(rate.toPrecision(2));
