// Long computations in slices: a frame does as much of them as its time allows, the next goes on. Whatever is drawn in the meantime
// is what was complete before.

/** A computation that can stop anywhere and go on. */
export interface Sliced {
  /** Goes on until it is done or `hasTime` says no; it looks at least every few hundred microseconds. */
  advance(hasTime: () => boolean): Progress;
}

export interface Progress {
  readonly done: boolean;
  /** There is something new to draw. */
  readonly changed: boolean;
}

export class Slices {
  private readonly waiting = new Set<Sliced>();
  private end = Infinity;
  private readonly hasTime = () => this.now() < this.end;

  /** Until the first `begin` there is no limit: whoever has no frames gets everything at once. */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** A frame begins, with so many milliseconds for this. */
  begin(milliseconds: number): void {
    this.end = this.now() + milliseconds;
  }

  /** Goes on with what was left over. Returns whether something has come to an end that can be drawn. */
  proceed(): boolean {
    let changed = false;
    for (const work of this.waiting) {
      if (!this.hasTime()) break;
      changed = this.advance(work) || changed;
    }
    return changed;
  }

  /** Does what the frame's time allows now, and the rest in later frames. */
  add(work: Sliced): void {
    this.advance(work);
  }

  /** The work's data is gone. */
  drop(work: Sliced): void {
    this.waiting.delete(work);
  }

  get pending(): boolean {
    return this.waiting.size > 0;
  }

  private advance(work: Sliced): boolean {
    const { done, changed } = work.advance(this.hasTime);
    // At the end of the queue again, so that every curve gets its turn.
    this.waiting.delete(work);
    if (!done) this.waiting.add(work);
    return changed;
  }
}
