// Which of the known words was meant.

/** Edits (insert, delete, replace, swap of neighbours) between two words, ignoring case. */
export function editDistance(left: string, right: string): number {
  const a = left.toLowerCase();
  const b = right.toLowerCase();
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(previous, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min(replaced, at(previous, j) + 1, at(current, j - 1) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, at(beforePrevious, j - 2) + 1);
      }
      current.push(best);
    }
    beforePrevious = previous;
    previous = current;
  }
  return at(previous, b.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY;
}

/**
 * The known word closest to `word`, or undefined when none is close: at most a third of the letters may differ. A word that
 * begins or ends with the other (`group` for `groupSize`, `lr` for `learningRate` not) counts as close too.
 */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  let best: { word: string; distance: number } | undefined;
  for (const candidate of known) {
    const distance = editDistance(word, candidate);
    const allowed = Math.max(1, Math.floor(Math.max(word.length, candidate.length) / 3));
    const score = distance <= allowed ? distance : contains(word, candidate) ? allowed + distance : undefined;
    if (score !== undefined && (!best || score < best.distance)) {
      best = { word: candidate, distance: score };
    }
  }
  return best?.word;
}

function contains(word: string, candidate: string): boolean {
  const [short, long] = [word.toLowerCase(), candidate.toLowerCase()].sort((a, b) => a.length - b.length);
  return (
    short !== undefined && long !== undefined && short.length >= 4 && (long.startsWith(short) || long.endsWith(short))
  );
}
