// How fast this machine computes, for the times that a code lens promises: measured in the background and remembered, because a
// guess from the kind of processor is good to a factor of two only.
import os from 'node:os';
import { workspace, type Memento } from 'vscode';
import { version } from '../../../package.json';
import type { Calibration } from '../../experiment';
import { checkedCalibration } from '../../experiment/measured-calibration';
import { measureSpeed } from '../../launch/measure-speed';
import type { WorkspaceRuns } from '../workspace-runs';
import type { SpeedRequest } from './world-protocol';

const KEY = 'lrqat.speed';
/** Keys of one machine that are remembered. */
const MOST = 50;

interface Stored {
  readonly machine?: string;
  readonly rates?: Readonly<Record<string, Calibration>>;
}

export class RateStore {
  private readonly tried = new Set<string>();

  constructor(
    private readonly memento: Memento,
    private readonly runs: WorkspaceRuns,
  ) {}

  current(): Readonly<Record<string, Calibration>> {
    const stored = this.memento.get<Stored>(KEY);
    if (stored?.machine !== thisMachine()) return {};
    const entries = Object.entries(stored.rates ?? {});
    return Object.fromEntries(entries.filter(([, rates]) => checkedCalibration(rates) !== null));
  }

  /** Measures and remembers, once for a key. Not while a run trains: both would be slower, and the number wrong.
   *  @returns whether there is a new number */
  async measure({ key, experiment }: SpeedRequest): Promise<boolean> {
    if (this.tried.has(key) || !workspace.isTrusted || this.runs.live.length > 0) return false;
    this.tried.add(key);
    const measured = await measureSpeed(experiment);
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
