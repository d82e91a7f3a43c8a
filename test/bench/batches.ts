// What the benchmark trains on: the text of an experiment in its order, or random tokens. Random tokens are nothing a model can
// learn: at a constant rate they drive low-bit weights out of the grid, and a clipped weight costs time that training on text
// does not.

import { readFile } from 'node:fs/promises';
import type { TokenBatch } from '../../native/binding/addon';
import { openTokenizer } from '../../src/formats';

export interface BatchShape {
  readonly sequences: number;
  readonly sequenceLength: number;
}

const NOT_PREDICTED = -1;

/** Always the same batch. */
export function randomBatches({ sequences, sequenceLength }: BatchShape, vocabSize: number): () => TokenBatch {
  let state = 12345;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
  const tokens = Int32Array.from({ length: sequences * sequenceLength }, () => (next() >>> 8) % vocabSize);
  const batch = withTargets(tokens, sequenceLength);
  return () => batch;
}

/** Sequence after sequence of a text file, from its beginning again after its end. */
export async function textBatches(
  { sequences, sequenceLength }: BatchShape,
  file: string,
  modelFolder: string,
): Promise<() => TokenBatch> {
  const ids = (await openTokenizer(modelFolder)).encode(await readFile(file, 'utf8'), { addSpecialTokens: false });
  const size = sequences * sequenceLength;
  const batches = Math.floor(ids.length / size);
  if (batches === 0) throw new Error(`${file}: ${String(ids.length)} tokens, a batch needs ${String(size)}`);
  let drawn = 0;
  return () => {
    const start = (drawn++ % batches) * size;
    return withTargets(ids.slice(start, start + size), sequenceLength);
  };
}

function withTargets(tokens: Int32Array, sequenceLength: number): TokenBatch {
  const targets = Int32Array.from(tokens, (_, i) =>
    (i + 1) % sequenceLength === 0 ? NOT_PREDICTED : (tokens[i + 1] ?? NOT_PREDICTED),
  );
  return { tokens, targets };
}
