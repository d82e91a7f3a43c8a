// Runs and experiment files of the workspace: decides which folders the store looks at and how often.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  Disposable,
  EventEmitter,
  RelativePattern,
  Uri,
  window,
  workspace,
  type Event,
  type ExtensionContext,
  type LogOutputChannel,
} from 'vscode';
import { RunStore, runsFolderAt, runsFolderFor, type RunDelta, type RunEntry } from '../runs';
import { EXPERIMENT_GLOB } from './contributions';
import { disposeAll, type Owned } from './owned';
import { folderPath, runsFolderSetting, setting } from './settings';
import { setContext } from './register';

/** Milliseconds between looks at live runs: while somebody looks at them, and while only the status bar shows them. */
const VISIBLE_PACE = 250;
const HIDDEN_PACE = 1_000;
const MANY_EXPERIMENTS = 2_000;

export class WorkspaceRuns implements Disposable {
  private readonly store: RunStore;
  private readonly owned: Owned[] = [];
  private readonly deltaEmitter = new EventEmitter<RunDelta>();
  private readonly experimentsEmitter = new EventEmitter<void>();
  private experiments: readonly string[] = [];
  /** The workspace has been searched for experiment files. */
  private searched = false;
  private readonly viewers = new Set<object>();

  /** Runs came, changed or went. */
  readonly onDelta: Event<RunDelta> = this.deltaEmitter.event;
  /** The list of experiment files changed. */
  readonly onExperiments: Event<void> = this.experimentsEmitter.event;
  /** Resolves when the workspace has been looked through once. */
  readonly loaded: Promise<void>;

  constructor({ storageUri, extension }: ExtensionContext, log: LogOutputChannel) {
    const { version } = extension.packageJSON as { readonly version: string };
    // A window without a folder has no storage, and no runs.
    const index =
      storageUri === undefined ? {} : { index: { file: path.join(storageUri.fsPath, 'runs.json'), version } };
    this.store = new RunStore({ onProblem: (message) => log.warn(message), ...index });
    this.store.onDelta((delta) => {
      // Until the search has ended the files that runs name stand for it: the explorer must not be arranged anew under the mouse.
      if (!this.searched) this.experiments = experimentFilesOf(this.store.entries);
      setContext('lrqat.hasRuns', this.store.entries.length > 0);
      setContext('lrqat.hasLiveRuns', this.store.live.length > 0);
      this.deltaEmitter.fire(delta);
    });
    this.store.setPace(HIDDEN_PACE);
    const watcher = workspace.createFileSystemWatcher(EXPERIMENT_GLOB, false, true, false);
    const rescan = (): void => void this.findExperiments();
    this.owned.push(
      watcher,
      watcher.onDidCreate(rescan),
      watcher.onDidDelete(rescan),
      workspace.onDidChangeWorkspaceFolders(rescan),
      workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration('lrqat')) void this.updateFolders();
      }),
      window.onDidChangeWindowState(({ focused }) => {
        if (focused) void this.store.reconcile();
      }),
      this.deltaEmitter,
      this.experimentsEmitter,
    );
    // Once the extension is active: the first look at a folder of many runs takes longer than everything else there.
    this.loaded = nextTurn().then(() => this.load(log));
  }

  get entries(): readonly RunEntry[] {
    return this.store.entries;
  }

  get live(): readonly RunEntry[] {
    return this.store.live;
  }

  /** Absolute paths. */
  get experimentFiles(): readonly string[] {
    return this.experiments;
  }

  get(directory: string): RunEntry | undefined {
    return this.store.get(directory);
  }

  /** Looks at these runs at once, for what has just been changed here. */
  refresh(directories: readonly string[]): void {
    this.store.refresh(directories);
  }

  reconcile(): Promise<void> {
    return this.store.reconcile();
  }

  /** Looks again for experiment files and runs. */
  async rescan(): Promise<void> {
    await this.findExperiments();
    await this.store.reconcile();
  }

  /** Somebody can see live runs: they are looked at more often until the result is disposed of. */
  view(): Disposable {
    const viewer = {};
    this.viewers.add(viewer);
    this.store.setPace(VISIBLE_PACE);
    return new Disposable(() => {
      this.viewers.delete(viewer);
      if (this.viewers.size === 0) this.store.setPace(HIDDEN_PACE);
    });
  }

  dispose(): void {
    this.store.dispose();
    disposeAll(this.owned);
  }

  private async load(log: LogOutputChannel): Promise<void> {
    const begin = performance.now();
    // Runs of the folders themselves first: looking for experiment files in a large workspace takes longer.
    await this.updateFolders();
    log.info(`${String(this.entries.length)} runs in ${(performance.now() - begin).toFixed(0)} ms`);
    await this.findExperiments();
    setContext('lrqat.loaded', true);
  }

  private async findExperiments(): Promise<void> {
    const found: Uri[] = [];
    for (const folder of workspace.workspaceFolders ?? []) {
      const pattern = new RelativePattern(folder, EXPERIMENT_GLOB);
      found.push(...(await workspace.findFiles(pattern, '**/{node_modules,.git,.lrqat}/**', MANY_EXPERIMENTS)));
    }
    const files = found.map(({ fsPath }) => fsPath).sort();
    const isFirst = !this.searched;
    const isSame = JSON.stringify(files) === JSON.stringify(this.experiments);
    this.searched = true;
    this.experiments = files;
    if (!isSame) this.experimentsEmitter.fire();
    if (!isSame || isFirst) await this.updateFolders();
  }

  private updateFolders(): Promise<void> {
    const folders = new Set<string>();
    for (const { uri } of workspace.workspaceFolders ?? []) {
      folders.add(runsFolderSetting(uri) ?? runsFolderAt(uri.fsPath));
      for (const written of setting('lrqat.additionalRunFolders', uri)) {
        if (typeof written === 'string' && written !== '') folders.add(folderPath(written, uri.fsPath));
      }
    }
    for (const file of this.experiments) folders.add(runsFolderFor(file, this.settingFor(file)));
    return this.store.setFolders([...folders]);
  }

  private settingFor(file: string): string | undefined {
    const folder = workspace.workspaceFolders?.find(({ uri }) => file.startsWith(uri.fsPath));
    return folder === undefined ? undefined : runsFolderSetting(folder.uri);
  }
}

/** Files in the workspace that runs were started from and that are still there, sorted. */
function experimentFilesOf(entries: readonly RunEntry[]): readonly string[] {
  const named = entries.flatMap((entry) => (entry.kind === 'run' ? (entry.origin.experimentFile ?? []) : []));
  return [...new Set(named)]
    .filter((file) => workspace.getWorkspaceFolder(Uri.file(file)) !== undefined && existsSync(file))
    .sort();
}
