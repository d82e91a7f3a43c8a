// Divisors of a number, and how a message offers them.

/** All divisors, ascending. */
export function divisors(value: number): number[] {
  const small: number[] = [];
  const large: number[] = [];
  for (let candidate = 1; candidate * candidate <= value; candidate++) {
    if (value % candidate !== 0) continue;
    small.push(candidate);
    if (candidate * candidate !== value) large.unshift(value / candidate);
  }
  return [...small, ...large];
}

/** `1, 2, 4 or 8`; of many choices the first and last. */
export function someOf(choices: readonly number[]): string {
  const texts = choices.map(String);
  if (texts.length > 12) return `${texts.slice(0, 6).join(', ')}, … or ${texts.slice(-2).join(' or ')}`;
  return texts.length === 1 ? texts.join('') : `${texts.slice(0, -1).join(', ')} or ${texts.at(-1) ?? ''}`;
}

export function largestBelow(choices: readonly number[], value: number): number {
  return choices.findLast((choice) => choice <= value) ?? choices[0] ?? 1;
}
