// Knows the queues of the workspace's folders, and keeps them going: the trainers start each other, but after a crash or a
// restart of the machine somebody has to look.
import path from 'node:path';
import { statSync } from 'node:fs';
import { EventEmitter, workspace, type Disposable } from 'vscode';
import { messageOf } from '../../errors';
import { advanceQueue } from '../../launch/advance-queue';
import { queuePaths, readQueueFile, setParallel, type ListedRun } from '../../runs';
import { disposeAll, type Owned } from '../owned';
import { setContext } from '../register';
import type { EngineFacts } from '../start/engine-facts';
import type { WorkspaceRuns } from '../workspace-runs';
import { activeIn, inOrder, mayStart, placesOf, queuedByFolder, type Place } from './queue-places';

interface Log {
  info(message: string): void;
  warn(message: string): void;
}

/** Milliseconds between looks at order files while something waits: others may move runs. */
const PACE = 1_000;
/** How long the process that a trainer leaves the queue to may take before it is looked after from here. */
const GRACE = 4_000;

interface Known {
  readonly signature: string;
  readonly order: readonly string[];
  readonly parallel: number;
}

export class QueueKeeper implements Disposable {
  private readonly files = new Map<string, Known>();
  private readonly roomSince = new Map<string, number>();
  private readonly changeEmitter = new EventEmitter<void>();
  private readonly owned: Owned[];
  private timer: NodeJS.Timeout | null = null;
  private looking: Promise<void> | null = null;
  private shown = '';
  private places: ReadonlyMap<string, Place> = new Map();
  private complaint = '';
  private disposed = false;

  /** Order or number of waiting runs changed. */
  readonly onChange = this.changeEmitter.event;

  constructor(
    private readonly runs: WorkspaceRuns,
    private readonly engine: EngineFacts,
    private readonly log: Log,
  ) {
    this.owned = [
      this.changeEmitter,
      runs.onDelta(() => void this.look()),
      workspace.onDidGrantWorkspaceTrust(() => void this.look()),
      workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration('lrqat.queue.parallel')) void this.applyParallel();
      }),
    ];
    // Runs are read while the window's parts are still being made: the first of them are no news to anyone by now.
    void runs.loaded.then(() => this.look());
  }

  /** Waiting runs, folder by folder, in the order in which they will start. */
  get waiting(): readonly ListedRun[] {
    return [...queuedByFolder(this.runs.entries)].flatMap(([folder, queued]) =>
      inOrder(queued, this.files.get(folder)?.order ?? []),
    );
  }

  /** Those at work in folders with a queue. */
  get active(): readonly ListedRun[] {
    const folders = new Set([...this.files.keys(), ...queuedByFolder(this.runs.entries).keys()]);
    return [...folders].flatMap((folder) => activeIn(this.runs.entries, folder));
  }

  placeOf(directory: string): Place | null {
    return this.places.get(directory) ?? null;
  }

  /** After a change made here: looks at once. */
  async refresh(): Promise<void> {
    await this.runs.reconcile();
    await this.look();
  }

  /** Starts what waits in a folder and has room. Only in trusted workspaces.
   *  @throws UserError when this machine lacks something */
  async advance(folder: string): Promise<void> {
    const { engine, log, runs } = this;
    const started = await advanceQueue(folder, {
      nodePath: engine.nodePath(),
      environment: engine.environment(),
      onFailure: (directory, error) => log.warn(`${path.basename(directory)} did not start: ${messageOf(error)}`),
    });
    for (const directory of started) log.info(`started from the queue: ${path.basename(directory)}`);
    if (started.length > 0) await runs.reconcile();
  }

  /** What the user has set, if anything, becomes the folders' number. */
  async applyParallel(folders: readonly string[] = [...this.files.keys()]): Promise<void> {
    const set = workspace.getConfiguration().inspect<number>('lrqat.queue.parallel');
    const value = set?.workspaceValue ?? set?.globalValue;
    if (typeof value !== 'number' || !workspace.isTrusted) return;
    for (const folder of folders) {
      await setParallel(folder, value).catch((error: unknown) => this.log.warn(messageOf(error)));
    }
    await this.look();
  }

  dispose(): void {
    this.disposed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    disposeAll(this.owned);
  }

  private look(): Promise<void> {
    this.looking ??= this.lookOnce()
      .catch((error: unknown) => this.complain(messageOf(error)))
      .finally(() => {
        this.looking = null;
        if (this.waiting.length > 0) this.lookSoon();
      });
    return this.looking;
  }

  private async lookOnce(): Promise<void> {
    const queued = queuedByFolder(this.runs.entries);
    for (const folder of queued.keys()) await this.read(folder);
    this.publish();
    if (workspace.isTrusted) {
      for (const [folder, waiting] of queued) await this.lookAfter(folder, waiting);
    }
  }

  private lookSoon(): void {
    if (this.disposed) return;
    this.timer ??= setTimeout(() => {
      this.timer = null;
      void this.look();
    }, PACE);
    this.timer.unref();
  }

  private async read(folder: string): Promise<void> {
    const stat = statSync(queuePaths(folder).file, { throwIfNoEntry: false });
    const signature = stat === undefined ? '-' : `${String(stat.mtimeMs)}/${String(stat.size)}/${String(stat.ino)}`;
    if (this.files.get(folder)?.signature === signature) return;
    const { order, parallel } = await readQueueFile(folder);
    this.files.set(folder, { signature, order, parallel });
  }

  private publish(): void {
    const { waiting } = this;
    this.places = placesOf(waiting);
    const shown = JSON.stringify(waiting.map(({ directory }) => directory));
    if (shown === this.shown) return;
    this.shown = shown;
    setContext('lrqat.hasQueue', shown !== '[]');
    // The view stays for as long as the window: one that came and went would move everything below it.
    if (shown !== '[]') setContext('lrqat.queueShown', true);
    this.changeEmitter.fire();
  }

  /** Room that stays for a few seconds means that nobody else is at it. */
  private async lookAfter(folder: string, waiting: readonly ListedRun[]): Promise<void> {
    const parallel = this.files.get(folder)?.parallel ?? 1;
    if (!mayStart(waiting, activeIn(this.runs.entries, folder), parallel)) {
      this.roomSince.delete(folder);
      return;
    }
    const since = this.roomSince.get(folder) ?? Date.now();
    this.roomSince.set(folder, since);
    if (Date.now() - since < GRACE) return;
    // The next try, should this one start nothing, comes as late.
    this.roomSince.delete(folder);
    await this.advance(folder);
  }

  /** Once: what is missing now is missing a second later as well. */
  private complain(message: string): void {
    if (message !== this.complaint) this.log.warn(`the queue waits: ${message}`);
    this.complaint = message;
  }
}
