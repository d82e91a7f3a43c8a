// Who may run next: a bounded number at once, in order of importance.

export interface Slots {
  /** Waits for a slot, runs the work in it. Waiting work of a lower rank goes first, equal ranks in the order of asking. */
  run<T>(rank: number, work: () => Promise<T>): Promise<T>;
}

/** @param count slots, at least 1 */
export function slots(count: number): Slots {
  if (!Number.isInteger(count) || count < 1)
    throw new RangeError(`${String(count)} slots: must be a whole number from 1`);
  const waiting: { readonly rank: number; readonly start: () => void }[] = [];
  let free = count;
  const next = () => {
    if (free === 0) return;
    const first = waiting.reduce<number>(
      (best, { rank }, at) => (rank < (waiting[best]?.rank ?? Infinity) ? at : best),
      0,
    );
    const [chosen] = waiting.splice(first, 1);
    if (chosen === undefined) return;
    free -= 1;
    chosen.start();
  };
  return {
    async run(rank, work) {
      await new Promise<void>((start) => {
        waiting.push({ rank, start });
        next();
      });
      try {
        return await work();
      } finally {
        free += 1;
        next();
      }
    },
  };
}
