// How fast this machine computes, for the times that a code lens promises: measured once in the background and remembered, because a
// guess from the kind of processor is good to a factor of two only.
import os from 'node:os';
import { workspace, type Memento } from 'vscode';
import { version } from '../../../package.json';
import { measureRates } from '../../launch';
import type { WorkspaceRuns } from '../workspace-runs';

interface Rates {
  readonly gemm: number;
  readonly bytes: number;
}

const KEY = 'lrqat.rates';
/** The shape of a step's products in a small model: large enough for the library's full speed, done in a fraction of a second. */
const PRODUCTS = [{ rows: 1024, columns: 1024, inner: 1024 }];

export class MeasuredRates {
  private measuring: Promise<void> | null = null;
  private tried = false;

  constructor(
    private readonly memento: Memento,
    private readonly runs: WorkspaceRuns,
  ) {}

  /** null: not measured (yet). */
  current(): Rates | null {
    const stored = this.memento.get<{ readonly machine?: string; readonly rates?: Rates }>(KEY);
    return stored?.machine === machine() && stored.rates !== undefined ? stored.rates : null;
  }

  /** Whether a measurement was begun by this call. Not while a run trains: both would be slower, and the number wrong. */
  measureSoon(): boolean {
    if (this.tried || !workspace.isTrusted || this.current() !== null || this.runs.live.length > 0) return false;
    this.tried = true;
    this.measuring = this.measure();
    return true;
  }

  async measured(): Promise<void> {
    await this.measuring;
  }

  private async measure(): Promise<void> {
    const threads = Math.max(1, os.availableParallelism());
    const rates = await measureRates({ products: PRODUCTS, compute: 'float32', threads });
    if (rates !== null) await this.memento.update(KEY, { machine: machine(), rates });
  }
}

function machine(): string {
  return `${version} ${os.hostname()} ${os.cpus()[0]?.model ?? ''} ${String(os.availableParallelism())}`;
}
