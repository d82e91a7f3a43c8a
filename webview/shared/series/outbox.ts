// What of a growing list the other side already has.

/** How much of a list that grows at the end, and is now and then cut, has been sent. */
export class Outbox {
  /** Items that the receiver holds. */
  private sent = 0;
  /** Of these, how many are still right. */
  private valid = 0;

  constructor(private readonly length: () => number) {}

  /** The list was cut to `length`, or changed from there on. */
  cut(length: number): void {
    this.valid = Math.min(this.valid, length);
  }

  /** The receiver has nothing (any more). */
  forget(): void {
    this.sent = 0;
    this.valid = 0;
  }

  waiting(): boolean {
    return this.valid < this.sent || this.valid < this.length();
  }

  /** Hands out what is to be sent next, at most `limit` items; null where there is nothing.
   *  @param make gets how many items the receiver keeps and up to where the list is to be sent. */
  take<Piece>(limit: number, make: (keep: number, to: number) => Piece): Piece | null {
    if (!this.waiting()) return null;
    const to = Math.min(this.length(), this.valid + limit);
    const piece = make(this.valid, to);
    this.sent = to;
    this.valid = to;
    return piece;
  }
}
