// Reads one run as it happens: every poll gives what is new since the last one.
import { watch, type FSWatcher } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../errors';
import { derivedState } from './derived-state';
import { parseLayersLine, parseMetricsLine } from './event-log';
import type { LayersEvent, MetricsEvent } from './events';
import { runPaths, type RunPaths } from './layout';
import { LineTail } from './line-tail';
import { readOwner } from './owner';
import { isEnded, type DerivedState, type RunStatus } from './status';
import { readStatus } from './status-file';

export interface RunUpdate {
  readonly status: RunStatus;
  readonly state: DerivedState;
  /** New lines of metrics.jsonl, as written (fold them with EventLog). */
  readonly events: readonly MetricsEvent[];
  readonly layers: readonly LayersEvent[];
  readonly log: readonly string[];
  /** A file was replaced: forget earlier events, `events` and `layers` start again. */
  readonly reset: boolean;
  /** Bytes of metrics and layers read so far and there; `done` is less only where a limit was set. */
  readonly bytes: { readonly done: number; readonly total: number };
}

export interface ReaderOptions {
  /** Also read layers.jsonl, log.txt. */
  readonly layers?: boolean;
  readonly log?: boolean;
  /** Bytes of each file to read in one poll at most. */
  readonly limit?: number;
  readonly now?: () => number;
  /** Milliseconds between looks where the system does not tell of changes (network file systems). */
  readonly pollInterval?: number;
}

/** After a change of a file, how long to wait for more before looking (milliseconds). */
const SETTLE = 30;

export class RunReader {
  readonly paths: RunPaths;
  private readonly metrics: LineTail;
  private readonly layerLines: LineTail;
  private readonly logLines: LineTail;

  constructor(
    runDirectory: string,
    private readonly options: ReaderOptions = {},
  ) {
    this.paths = runPaths(runDirectory);
    this.metrics = new LineTail(this.paths.metrics);
    this.layerLines = new LineTail(this.paths.layers);
    this.logLines = new LineTail(this.paths.log);
  }

  /** @throws UserError NotARun. */
  async poll(): Promise<RunUpdate> {
    // Status before events: an ended status then means that these are all the events.
    const { status, state } = await readState(this.paths.directory, this.options.now);
    const { limit } = this.options;
    const metrics = await this.metrics.read(limit);
    const none = { lines: [], reset: false, read: 0, size: 0 };
    const layers = this.options.layers === true ? await this.layerLines.read(limit) : none;
    const log = this.options.log === true ? await this.logLines.read(limit) : none;
    return {
      status,
      state,
      events: metrics.lines.map(parseMetricsLine).filter((event) => event !== null),
      layers: layers.lines.map(parseLayersLine).filter((event) => event !== null),
      log: log.lines,
      reset: metrics.reset || layers.reset,
      bytes: { done: metrics.read + layers.read, total: metrics.size + layers.size },
    };
  }

  /** What there is, then every change, until the run has ended or `signal` aborts. A stale run is followed on: its host may
   *  come back. */
  async *follow(signal?: AbortSignal): AsyncGenerator<RunUpdate, void, undefined> {
    const changes = new Changes(this.paths.directory, this.options.pollInterval ?? 1_000);
    try {
      let last = '';
      while (signal?.aborted !== true) {
        const update = await this.poll();
        const seen = JSON.stringify([update.state, { ...update.status, heartbeat: 0 }]);
        const isNew = seen !== last || update.events.length > 0 || update.layers.length > 0 || update.log.length > 0;
        last = seen;
        if (isNew || update.reset) yield update;
        if (update.bytes.done < update.bytes.total) continue;
        if (isEnded(update.state) && update.state !== 'stale') return;
        await changes.next(signal);
      }
    } finally {
      changes.close();
    }
  }
}

/** @throws UserError NotARun. */
export async function readState(
  runDirectory: string,
  now: () => number = Date.now,
): Promise<{ readonly status: RunStatus; readonly state: DerivedState }> {
  for (let look = 1; ; look++) {
    const owner = await readOwner(runDirectory);
    const status = await readStatus(runDirectory);
    if (status === null) {
      throw new UserError('NotARun', `${runDirectory}: not a run directory (no readable status.json)`);
    }
    const state = derivedState(status, owner, now());
    if (state !== 'crashed' || look === 2) return { status, state };
  }
}

/** Wakes when something in a folder changes, or after a while where the system does not say. */
class Changes {
  private readonly watcher: FSWatcher | null;
  private changed = false;
  private wake: (() => void) | null = null;

  constructor(
    folder: string,
    private readonly interval: number,
  ) {
    this.watcher = startWatcher(folder, () => {
      this.changed = true;
      this.wake?.();
    });
  }

  async next(signal: AbortSignal | undefined): Promise<void> {
    if (!this.changed) {
      const timeout = new AbortController();
      const woken = new Promise<void>((resolve) => {
        this.wake = resolve;
        signal?.addEventListener('abort', () => resolve(), { once: true, signal: timeout.signal });
      });
      await Promise.race([woken, pause(this.interval, timeout.signal)]);
      this.wake = null;
      timeout.abort();
    }
    if (this.changed) await pause(SETTLE, signal);
    this.changed = false;
  }

  close(): void {
    this.watcher?.close();
  }
}

function startWatcher(folder: string, onChange: () => void): FSWatcher | null {
  try {
    const watcher = watch(folder, onChange);
    // A watch that breaks (folder removed, limits reached) leaves the polling.
    watcher.on('error', () => watcher.close());
    return watcher;
  } catch {
    return null;
  }
}

async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(milliseconds, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
}
