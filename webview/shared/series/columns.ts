// Growing columns of numbers: what the series of a run are kept in on both sides of the message channel.

/** Rows from which on columns grow ahead of need, how many at a time, and at every how many rows that are pushed. */
const LONG = 1 << 17;
const AT_ONCE = 2;
const EVERY = 1 << 12;

/** Equally long columns of float64 that grow at the end and are cut at the end. NaN stands for what is not known. */
export class Columns<Name extends string> {
  private readonly arrays: Record<Name, Float64Array>;
  private used = 0;

  /** @param sparse columns that mostly hold nothing: where rows have no number in them they are not part of `buffers` */
  constructor(
    readonly names: readonly Name[],
    capacity = 256,
    private readonly sparse: ReadonlySet<Name> = new Set(),
  ) {
    this.arrays = Object.fromEntries(names.map((name) => [name, new Float64Array(capacity)])) as Record<
      Name,
      Float64Array
    >;
  }

  /** Rows. */
  get length(): number {
    return this.used;
  }

  /** The rows of a column: a view, good until the next change. */
  column(name: Name): Float64Array {
    return this.arrays[name].subarray(0, this.used);
  }

  push(row: Readonly<Record<Name, number>>): void {
    this.reserve(this.used + 1);
    for (const name of this.names) this.arrays[name][this.used] = row[name];
    this.used++;
    if (this.used >= LONG && this.used % EVERY === 0) this.growAhead();
  }

  /** Keeps the first `length` rows. */
  truncate(length: number): void {
    this.used = Math.min(this.used, length);
  }

  /** Copies of the rows from `from` to before `to`. */
  buffers(from: number, to: number): Record<Name, ArrayBuffer> {
    const parts = this.names.map((name) => [name, this.arrays[name].slice(from, to)] as const);
    const wanted = parts.filter(([name, part]) => !this.sparse.has(name) || part.some((value) => !Number.isNaN(value)));
    return Object.fromEntries(wanted.map(([name, { buffer }]) => [name, buffer])) as Record<Name, ArrayBuffer>;
  }

  /** Keeps the first `keep` rows and appends `count` rows. */
  replace(keep: number, count: number, columns: Readonly<Partial<Record<Name, ArrayBuffer>>>): void {
    this.truncate(keep);
    this.reserve(this.used + count);
    for (const name of this.names) {
      const part = columns[name];
      if (part === undefined) this.arrays[name].fill(NaN, this.used, this.used + count);
      else this.arrays[name].set(new Float64Array(part, 0, count), this.used);
    }
    this.used += count;
    if (this.used >= LONG) this.growAhead();
  }

  private reserve(rows: number): void {
    for (const name of this.names) if (this.arrays[name].length < rows) this.grow(name, rows);
  }

  /** Copying all columns of a long run at once takes longer than a frame. So a few of them are made larger at each message, from
   *  when the room that is left is a quarter. Memory that has not been written to is not taken from the machine. */
  private growAhead(): void {
    let grown = 0;
    for (const name of this.names) {
      if (this.arrays[name].length * 0.75 >= this.used) continue;
      this.grow(name, this.used);
      if (++grown === AT_ONCE) return;
    }
  }

  private grow(name: Name, rows: number): void {
    const old = this.arrays[name];
    const larger = new Float64Array(Math.max(rows, old.length * 2));
    larger.set(old.subarray(0, this.used));
    this.arrays[name] = larger;
  }
}

/** Index of the first element that is not below `value`, in a column that never decreases; its length where all are below.
 *  @param low, high where it is known to lie between. */
export function lowerBound(sorted: Float64Array, value: number, low = 0, high = sorted.length): number {
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? NaN) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
