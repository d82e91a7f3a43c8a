// In which order queued runs start. Pure.

export type Move = 'up' | 'down' | 'first' | 'last';

/** The queued runs in order: those that the file names as it names them, then others (whose place was lost, or that another
 *  program made) by age. Names of runs begin with the time. */
export function orderOf(written: readonly string[], queued: readonly string[]): string[] {
  const waiting = new Set(queued);
  const known = [...new Set(written)].filter((name) => waiting.has(name));
  const named = new Set(known);
  return [...known, ...[...waiting].filter((name) => !named.has(name)).sort()];
}

/** The order with some runs moved; they keep their order among themselves. A number is a position, counted from 1. */
export function moved(order: readonly string[], names: readonly string[], to: Move | number): string[] {
  const chosen = new Set(names);
  const moving = order.filter((name) => chosen.has(name));
  const rest = order.filter((name) => !chosen.has(name));
  const at = (index: number): string[] => [...rest.slice(0, index), ...moving, ...rest.slice(index)];
  const [first] = moving;
  if (first === undefined) return [...order];
  switch (to) {
    case 'first':
      return at(0);
    case 'last':
      return at(rest.length);
    case 'up':
      return oneUp(order, chosen);
    case 'down':
      return oneUp(order.toReversed(), chosen).reverse();
    default:
      return at(Math.min(Math.max(0, to - 1), rest.length));
  }
}

/** Each chosen one changes places with the one before it, unless that is chosen too. */
function oneUp(order: readonly string[], chosen: ReadonlySet<string>): string[] {
  const result = [...order];
  for (let index = 1; index < result.length; index++) {
    const [before, here] = [result[index - 1], result[index]];
    if (before === undefined || here === undefined || !chosen.has(here) || chosen.has(before)) continue;
    result[index - 1] = here;
    result[index] = before;
  }
  return result;
}
