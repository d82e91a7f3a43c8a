// Counting what an export has written, and stopping it between two parts.

export class Meter {
  private done = 0;

  constructor(
    private readonly total: number,
    private readonly onProgress: (done: number, total: number) => void = () => undefined,
    private readonly signal: AbortSignal | null = null,
  ) {}

  /** Passes the parts of a tensor on. @throws AbortError once the signal is aborted */
  async *count(parts: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    for await (const part of parts) {
      this.signal?.throwIfAborted();
      yield part;
      this.done += part.length;
      this.onProgress(Math.min(this.done, this.total), this.total);
    }
  }
}
