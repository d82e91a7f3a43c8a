// How fast this machine computes, for the times that a code lens promises: measured in the background and remembered, because a
// guess from the kind of processor is good to a factor of two only.
import os from 'node:os';
import { workspace, type Memento } from 'vscode';
import { version } from '../../../package.json';
import { measureRates, type MeasuredRates, type RateRequest } from '../../launch/calibrate';
import type { WorkspaceRuns } from '../workspace-runs';
import { rateKey } from './world-protocol';

const KEY = 'lrqat.rates';
/** Shapes of one machine that are remembered. */
const MOST = 50;

interface Stored {
  readonly machine?: string;
  readonly rates?: Readonly<Record<string, MeasuredRates>>;
}

export class RateStore {
  private readonly tried = new Set<string>();

  constructor(
    private readonly memento: Memento,
    private readonly runs: WorkspaceRuns,
  ) {}

  current(): Readonly<Record<string, MeasuredRates>> {
    const stored = this.memento.get<Stored>(KEY);
    return stored?.machine === thisMachine() ? (stored.rates ?? {}) : {};
  }

  /** Measures and remembers, once for a shape. Not while a run trains: both would be slower, and the number wrong.
   *  @returns whether there is a new number */
  async measure(request: RateRequest): Promise<boolean> {
    const key = rateKey(request);
    if (this.tried.has(key) || !workspace.isTrusted || this.runs.live.length > 0) return false;
    this.tried.add(key);
    const measured = await measureRates(request);
    if (!measured.ok) return false;
    const kept = Object.entries(this.current()).slice(1 - MOST);
    await this.memento.update(KEY, {
      machine: thisMachine(),
      rates: Object.fromEntries([...kept, [key, measured.rates]]),
    });
    return true;
  }
}

function thisMachine(): string {
  return `${version} ${os.hostname()} ${os.cpus()[0]?.model ?? ''} ${String(os.availableParallelism())}`;
}
