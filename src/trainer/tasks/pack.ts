// Many short sequences in few rows of one length, each of which sees only itself (TokenBatch.firstKey), and what several begin with
// only once: they follow it as branches that do not see each other (TokenBatch.hidden). Rotary positions are relative, so that
// where in its row a sequence lies changes its numbers by rounding only.

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

/** A beginning and the requests that go on from it, in consecutive positions of a row. */
interface Group {
  /** Tokens that all members begin with; 0 for a member alone. */
  readonly shared: number;
  readonly members: readonly number[];
  readonly size: number;
}

/** First-fit in decreasing length: at most `rowsPerBatch` rows of `length` tokens a batch; the order depends on lengths and
 *  beginnings alone. No request may be longer than `length`.
 *
 *  @param families indices of requests that probably begin alike, each request once; default: every request for itself
 */
export function packRequests(
  requests: readonly ScoreRequest[],
  length: number,
  rowsPerBatch: number,
  families: readonly (readonly number[])[] = requests.map((_, index) => [index]),
): readonly PackedBatch[] {
  const groups = families.flatMap((family) => groupsOf(requests, family, length));
  const first = ({ members }: Group) => members[0] ?? 0;
  groups.sort((a, b) => b.size - a.size || first(a) - first(b));
  const rows: { free: number; groups: Group[] }[] = [];
  // Rows with the same room, so that the first fit is found without looking at every row.
  let open: { free: number; groups: Group[] }[] = [];
  for (const group of groups) {
    let row = open.find(({ free }) => free >= group.size);
    if (row === undefined) {
      row = { free: length, groups: [] };
      rows.push(row);
      open.push(row);
    }
    row.free -= group.size;
    row.groups.push(group);
    if (open.length > OPEN_ROWS || row.free === 0) {
      open = open.filter(({ free }) => free > 0).slice(-OPEN_ROWS);
    }
  }
  const batches: PackedBatch[] = [];
  for (let first = 0; first < rows.length; first += rowsPerBatch) {
    batches.push(
      batchOf(
        requests,
        rows.slice(first, first + rowsPerBatch).map((row) => row.groups),
        length,
      ),
    );
  }
  return batches;
}

/** Rows that may still take a sequence; more would fill little and cost a long search. */
const OPEN_ROWS = 64;

/** As many branches at a beginning as a row takes. */
function groupsOf(requests: readonly ScoreRequest[], family: readonly number[], length: number): Group[] {
  const sizeOf = (index: number): number => requests[index]?.tokens.length ?? 0;
  const shared = family.length < 2 ? 0 : sharedTokens(family.flatMap((index) => requests[index] ?? []));
  if (shared === 0) return family.map((index) => ({ shared: 0, members: [index], size: sizeOf(index) }));
  const groups: Group[] = [];
  let members: number[] = [];
  let size = shared;
  for (const index of family) {
    const branch = sizeOf(index) - shared;
    if (size + branch > length && members.length > 0) {
      groups.push({ shared, members, size });
      members = [];
      size = shared;
    }
    members.push(index);
    size += branch;
  }
  return [...groups, { shared, members, size }];
}

/** Tokens that all begin with and at which nothing is scored: a position has one target. */
function sharedTokens(requests: readonly ScoreRequest[]): number {
  const [first, ...others] = requests;
  if (first === undefined) return 0;
  let shared = Math.min(...requests.map(({ tokens, targets }) => tokens.length - targets.length));
  for (const { tokens } of others) {
    let same = 0;
    while (same < shared && tokens[same] === first.tokens[same]) same++;
    shared = same;
  }
  return shared;
}

function batchOf(requests: readonly ScoreRequest[], rows: readonly (readonly Group[])[], length: number): PackedBatch {
  const tokens = new Int32Array(rows.length * length);
  const targets = new Int32Array(tokens.length).fill(-1);
  // What nothing fills sees only itself.
  const firstKey = Int32Array.from(tokens, (_, position) => position % length);
  const hidden = { from: new Int32Array(tokens.length), to: new Int32Array(tokens.length) };
  let hides = false;
  const placed: Placed[] = [];
  for (const [row, groups] of rows.entries()) {
    let column = 0;
    for (const { shared, members, size } of groups) {
      const start = row * length;
      const branches = column + shared;
      firstKey.fill(column, start + column, start + column + size);
      tokens.set(requests[members[0] ?? 0]?.tokens.subarray(0, shared) ?? [], start + column);
      column = branches;
      for (const index of members) {
        const request = requests[index];
        if (request === undefined) continue;
        const begin = start + column;
        const end = begin + request.tokens.length - shared;
        tokens.set(request.tokens.subarray(shared), begin);
        targets.set(request.targets, end - request.targets.length);
        if (column > branches) {
          hides = true;
          hidden.from.fill(branches, begin, end);
          hidden.to.fill(column, begin, end);
        }
        placed.push({ request: index, begin: end - request.targets.length, end });
        column += request.tokens.length - shared;
      }
    }
  }
  return { batch: hides ? { tokens, targets, firstKey, hidden } : { tokens, targets, firstKey }, placed };
}
