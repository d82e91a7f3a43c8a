// All runs of some folders, kept up to date: what came, changed and went, as deltas. Three sources: a watcher on each folder
// (not on what is inside: a thousand runs would be a thousand watches), a frequent look at the runs that a trainer works on,
// and a comparison of names and times for what the system does not tell (network file systems).
import { existsSync, readdirSync, statSync, watch, type FSWatcher } from 'node:fs';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { lookAtRun, runSignature, type RunEntry } from './run-folder';
import { isIndexed, readRunIndex, writeRunIndex, type IndexedRun, type RunIndexPlace } from './run-index';
import { isEnded } from './status';

export interface RunDelta {
  readonly added: readonly RunEntry[];
  readonly changed: readonly RunEntry[];
  /** Run directories. */
  readonly removed: readonly string[];
}

export interface RunStoreOptions {
  readonly now?: () => number;
  /** Milliseconds between comparisons of everything; 0: never by itself. */
  readonly reconcileInterval?: number;
  /** Something that is not a matter of one run, e.g. a folder that cannot be listed. */
  readonly onProblem?: (message: string) => void;
  /** Where to keep what is known of ended runs, for the next store; absent: nowhere. */
  readonly index?: RunIndexPlace;
}

interface Known {
  entry: RunEntry | null;
  signature: string;
}

/** Milliseconds of reading between turns of the event loop. */
const SLICE = 10;
const RECONCILE_INTERVAL = 30_000;
/** After a watcher's event, how long to wait for more of them. */
const SETTLE = 50;
/** A new run gets its status a moment after its folder, where the watcher does not look: how soon to look again, and for how long. */
const YOUNG_PACE = 250;
const YOUNG = 5_000;
/** How long after the last change the index is written: not while a folder is being read or a sweep ends run by run. */
const INDEX_DELAY = 3_000;

export class RunStore {
  private readonly known = new Map<string, Known>();
  private folders: readonly string[] = [];
  private readonly watchers = new Map<string, { readonly place: string; readonly watcher: FSWatcher }>();
  private readonly listeners = new Set<(delta: RunDelta) => void>();
  private readonly now: () => number;
  private readonly reconcileTimer: NodeJS.Timeout | null;
  private liveTimer: NodeJS.Timeout | null = null;
  private settle: NodeJS.Timeout | null = null;
  private indexTimer: NodeJS.Timeout | null = null;
  /** What an earlier store has left; null: not read yet. */
  private indexed: ReadonlyMap<string, IndexedRun> | null = null;
  private running: Promise<void> | null = null;
  private again = false;
  private disposed = false;

  constructor(private readonly options: RunStoreOptions = {}) {
    this.now = options.now ?? Date.now;
    const interval = options.reconcileInterval ?? RECONCILE_INTERVAL;
    this.reconcileTimer = interval > 0 ? setInterval(() => void this.reconcile(), interval) : null;
    this.reconcileTimer?.unref();
  }

  /** Runs and broken folders, in no particular order. */
  get entries(): readonly RunEntry[] {
    return [...this.known.values()].flatMap(({ entry }) => (entry === null ? [] : [entry]));
  }

  get(directory: string): RunEntry | undefined {
    return this.known.get(directory)?.entry ?? undefined;
  }

  /** Runs that a trainer works on, or may: their files change. */
  get live(): readonly RunEntry[] {
    return this.entries.filter(isLive);
  }

  onDelta(listener: (delta: RunDelta) => void): { dispose(): void } {
    this.listeners.add(listener);
    return { dispose: () => void this.listeners.delete(listener) };
  }

  /** Shows these runs folders from now on; resolves when they have been read. They need not exist yet. */
  setFolders(folders: readonly string[]): Promise<void> {
    this.folders = [...new Set(folders.map((folder) => path.resolve(folder)))];
    return this.reconcile();
  }

  /** How often to look at live runs (milliseconds); 0: not at all. */
  setPace(milliseconds: number): void {
    if (this.liveTimer !== null) clearInterval(this.liveTimer);
    this.liveTimer = milliseconds > 0 && !this.disposed ? setInterval(() => this.refreshLive(), milliseconds) : null;
    this.liveTimer?.unref();
  }

  /** Looks at all live runs now. */
  refreshLive(): void {
    this.refresh(this.live.map(({ directory }) => directory));
  }

  /** Looks at these runs now, whatever their signature says. */
  refresh(directories: readonly string[]): void {
    const delta = new DeltaBuilder();
    for (const directory of directories) this.look(path.resolve(directory), delta, true);
    this.publish(delta);
  }

  /** Compares everything with what is known. Calls while one is under way are served by one more. */
  async reconcile(): Promise<void> {
    if (this.running !== null) {
      this.again = true;
      return this.running;
    }
    this.running = this.reconcileUntilQuiet();
    try {
      await this.running;
    } finally {
      this.running = null;
    }
  }

  dispose(): void {
    this.disposed = true;
    this.setPace(0);
    if (this.reconcileTimer !== null) clearInterval(this.reconcileTimer);
    if (this.settle !== null) clearTimeout(this.settle);
    if (this.indexTimer !== null) clearTimeout(this.indexTimer);
    for (const { watcher } of this.watchers.values()) watcher.close();
    this.watchers.clear();
    this.listeners.clear();
  }

  private async reconcileUntilQuiet(): Promise<void> {
    do {
      this.again = false;
      await this.reconcileOnce();
    } while (this.mustGoOn());
  }

  private mustGoOn(): boolean {
    return this.again && !this.disposed;
  }

  private async reconcileOnce(): Promise<void> {
    const { index } = this.options;
    if (index !== undefined) this.indexed ??= await readRunIndex(index);
    const { folders } = this;
    this.watch(folders);
    const delta = new DeltaBuilder();
    const seen = new Set<string>();
    let sliceEnd = performance.now() + SLICE;
    for (const folder of folders) {
      for (const name of this.namesIn(folder)) {
        const directory = path.join(folder, name);
        seen.add(directory);
        this.look(directory, delta, false);
        if (performance.now() < sliceEnd) continue;
        await turn();
        sliceEnd = performance.now() + SLICE;
      }
    }
    for (const [directory, { entry }] of this.known) {
      if (seen.has(directory)) continue;
      this.known.delete(directory);
      if (entry !== null) delta.removed.push(directory);
    }
    this.publish(delta);
  }

  private look(directory: string, delta: DeltaBuilder, force: boolean): void {
    const known = this.known.get(directory);
    let signature: string;
    try {
      signature = runSignature(directory);
    } catch {
      // A file in a place of a folder, or a folder that may not be entered.
      signature = 'unreadable';
    }
    const before = known?.entry ?? null;
    // A live run may change without a new file: its process ends. A folder that is no run may be about to become one.
    if (!force && before !== null && signature === known?.signature && !isLive(before)) return;
    const entry = this.indexedEntry(directory, signature) ?? this.read(directory, before);
    if (entry === null) {
      this.known.set(directory, { entry, signature });
      if (isYoung(directory)) this.reconcileIn(YOUNG_PACE);
      if (before !== null) delta.removed.push(directory);
      return;
    }
    this.known.set(directory, { entry, signature });
    if (before === null) delta.added.push(entry);
    else if (!looksSame(before, entry)) delta.changed.push(entry);
  }

  /** An entry of the index, where the run is new to this store and its files are as they were. */
  private indexedEntry(directory: string, signature: string): RunEntry | null {
    if (this.known.has(directory)) return null;
    const indexed = this.indexed?.get(directory);
    return indexed?.signature === signature ? indexed.entry : null;
  }

  private read(directory: string, before: RunEntry | null): RunEntry | null {
    const entry = lookAtRun(directory, this.now(), before?.kind === 'run' ? before.origin : undefined);
    if (entry !== null && isIndexed(entry)) this.writeIndexSoon();
    return entry;
  }

  private writeIndexSoon(): void {
    const { index, onProblem } = this.options;
    if (index === undefined || this.disposed) return;
    this.indexTimer ??= setTimeout(() => {
      this.indexTimer = null;
      writeRunIndex(index, this.known.values()).catch((error: unknown) => {
        onProblem?.(`${index.file}: cannot be written (${String(error)})`);
      });
    }, INDEX_DELAY).unref();
  }

  private publish(delta: DeltaBuilder): void {
    if (this.disposed || delta.isEmpty) return;
    for (const listener of [...this.listeners]) listener(delta);
  }

  private namesIn(folder: string): readonly string[] {
    try {
      return (
        readdirSync(folder, { withFileTypes: true })
          .filter((entry) => entry.isDirectory() || entry.isSymbolicLink())
          .map(({ name }) => name)
          // The queue's own folder; no run begins so.
          .filter((name) => !name.startsWith('.'))
      );
    } catch (error) {
      if (existsSync(folder)) this.options.onProblem?.(`${folder}: cannot be listed (${String(error)})`);
      return [];
    }
  }

  /** One watch a folder; where the folder is not there yet, on the nearest one above it. */
  private watch(folders: readonly string[]): void {
    for (const [folder, { place, watcher }] of this.watchers) {
      if (folders.includes(folder) && place === nearestExisting(folder)) continue;
      watcher.close();
      this.watchers.delete(folder);
    }
    for (const folder of folders) {
      if (this.watchers.has(folder) || this.disposed) continue;
      const place = nearestExisting(folder);
      const watcher = startWatcher(place, () => this.reconcileIn(SETTLE));
      if (watcher !== null) this.watchers.set(folder, { place, watcher });
    }
  }

  private reconcileIn(delay: number): void {
    if (this.disposed) return;
    this.settle ??= setTimeout(() => {
      this.settle = null;
      void this.reconcile();
    }, delay);
  }
}

class DeltaBuilder implements RunDelta {
  readonly added: RunEntry[] = [];
  readonly changed: RunEntry[] = [];
  readonly removed: string[] = [];

  get isEmpty(): boolean {
    return this.added.length === 0 && this.changed.length === 0 && this.removed.length === 0;
  }
}

export function isLive(entry: RunEntry): boolean {
  return entry.kind === 'run' && (!isEnded(entry.state) || entry.state === 'stale');
}

/** The heartbeat alone is no change that anyone sees. */
function looksSame(one: RunEntry, other: RunEntry): boolean {
  return JSON.stringify(one, withoutHeartbeat) === JSON.stringify(other, withoutHeartbeat);
}

function withoutHeartbeat(key: string, value: unknown): unknown {
  return key === 'heartbeat' ? undefined : value;
}

function isYoung(directory: string): boolean {
  const age = Date.now() - (statSync(directory, { throwIfNoEntry: false })?.mtimeMs ?? 0);
  return age < YOUNG;
}

function nearestExisting(folder: string): string {
  let place = folder;
  while (!existsSync(place) && path.dirname(place) !== place) place = path.dirname(place);
  return place;
}

function startWatcher(folder: string, onChange: () => void): FSWatcher | null {
  try {
    const watcher = watch(folder, onChange);
    // A watch that breaks (folder removed, limits reached) leaves the comparison by time.
    watcher.on('error', () => watcher.close());
    return watcher;
  } catch {
    return null;
  }
}
