// Many short sequences in few rows of one length, each of which sees only itself (TokenBatch.firstKey). Rotary positions are
// relative, so that where in its row a sequence lies changes its numbers by rounding only.

import type { TokenBatch } from '../../../native/binding/addon';
import type { ScoreRequest } from './requests';

/** Where the scored positions of a request are in the losses of its batch. */
export interface Placed {
  /** Index among the requests. */
  readonly request: number;
  readonly begin: number;
  readonly end: number;
}

export interface PackedBatch {
  readonly batch: TokenBatch;
  readonly placed: readonly Placed[];
}

/** First-fit of the requests in decreasing length: at most `rowsPerBatch` rows of `length` tokens a batch; the order depends on
 *  lengths alone. No request may be longer than `length`. */
export function packRequests(
  requests: readonly ScoreRequest[],
  length: number,
  rowsPerBatch: number,
): readonly PackedBatch[] {
  const order = requests.map((_, index) => index).sort((a, b) => sizeOf(requests, b) - sizeOf(requests, a) || a - b);
  const rows: { free: number; requests: number[] }[] = [];
  // Rows with the same room, so that the first fit is found without looking at every row.
  let open: { free: number; requests: number[] }[] = [];
  for (const index of order) {
    const size = sizeOf(requests, index);
    let row = open.find(({ free }) => free >= size);
    if (row === undefined) {
      row = { free: length, requests: [] };
      rows.push(row);
      open.push(row);
    }
    row.free -= size;
    row.requests.push(index);
    if (open.length > OPEN_ROWS || row.free === 0) {
      open = open.filter(({ free }) => free > 0).slice(-OPEN_ROWS);
    }
  }
  const batches: PackedBatch[] = [];
  for (let first = 0; first < rows.length; first += rowsPerBatch) {
    batches.push(
      batchOf(
        requests,
        rows.slice(first, first + rowsPerBatch).map((row) => row.requests),
        length,
      ),
    );
  }
  return batches;
}

/** Rows that may still take a sequence; more would fill little and cost a long search. */
const OPEN_ROWS = 64;

const sizeOf = (requests: readonly ScoreRequest[], index: number): number => requests[index]?.tokens.length ?? 0;

function batchOf(requests: readonly ScoreRequest[], rows: readonly (readonly number[])[], length: number): PackedBatch {
  const tokens = new Int32Array(rows.length * length);
  const targets = new Int32Array(tokens.length).fill(-1);
  // What nothing fills sees only itself.
  const firstKey = Int32Array.from(tokens, (_, position) => position % length);
  const placed: Placed[] = [];
  for (const [row, members] of rows.entries()) {
    let column = 0;
    for (const index of members) {
      const request = requests[index];
      if (request === undefined) continue;
      const begin = row * length + column;
      const end = begin + request.tokens.length;
      tokens.set(request.tokens, begin);
      targets.set(request.targets, end - request.targets.length);
      firstKey.fill(column, begin, end);
      placed.push({ request: index, begin: end - request.targets.length, end });
      column += request.tokens.length;
    }
  }
  return { batch: { tokens, targets, firstKey }, placed };
}
