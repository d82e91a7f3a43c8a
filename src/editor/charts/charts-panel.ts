// The host of one live-charts panel: tells the page what it should show and does what it asks for.
import { Uri, ViewColumn, window, workspace, type Disposable, type WebviewPanel } from 'vscode';
import path from 'node:path';
import {
  AddRuns,
  CompareRuns,
  Control,
  Data,
  Export,
  Exported,
  Notice,
  Open,
  Ready,
  RemoveRun,
  Report,
  RequestSnapshot,
  Runs,
  type ControlVerb,
} from '../../../webview/charts/protocol';
import { dispatch, on, type Message } from '../../../webview/shared/messages';
import { messageOf } from '../../errors';
import { existsSync } from 'node:fs';
import { runPaths } from '../../runs';
import { CHARTS_PANEL, type CommandId } from '../contributions';
import { l10n } from '../l10n';
import { disposeAll, type Owned } from '../owned';
import { loadPage } from '../panel-page';
import { executeCommand } from '../register';
import type { Services } from '../services';
import { ChartRun } from './chart-run';
import { pickMoreRuns } from './pick-more';
import { longName } from './run-info';

/** Milliseconds between looks at live runs. */
const PACE = 250;
/** After a file has changed, how long to wait for more before looking. */
const SETTLE = 25;

type OnRun = Extract<CommandId, 'lrqat.pause' | 'lrqat.resume' | 'lrqat.stop' | 'lrqat.checkpointNow'>;
const COMMAND_OF: Readonly<Record<ControlVerb, OnRun>> = {
  pause: 'lrqat.pause',
  resume: 'lrqat.resume',
  stop: 'lrqat.stop',
  checkpoint: 'lrqat.checkpointNow',
};

export class ChartsPanel implements Disposable {
  private shown: ChartRun[];
  private readonly owned: Owned[] = [];
  /** The page is there and has been told everything. */
  private ready = false;
  private viewing: Disposable | null = null;
  private pace: NodeJS.Timeout | null = null;
  private settle: NodeJS.Timeout | null = null;
  private pumping = false;
  private again = false;
  private disposed = false;

  static create(directories: readonly string[], services: Services): ChartsPanel {
    const panel = window.createWebviewPanel(CHARTS_PANEL, l10n.t('Live Charts'), ViewColumn.Active, {});
    return new ChartsPanel(panel, directories, services);
  }

  /** @param panel new, or restored by VS Code after a reload */
  constructor(
    readonly panel: WebviewPanel,
    directories: readonly string[],
    private readonly services: Services,
  ) {
    this.shown = directories.map((directory) => this.chartRun(directory));
    // After a reload the panel is back before the folders have been looked through.
    services.runs.refresh(directories);
    const { webview } = panel;
    panel.iconPath = {
      light: Uri.joinPath(services.context.extensionUri, 'media', 'icons', 'charts-light.svg'),
      dark: Uri.joinPath(services.context.extensionUri, 'media', 'icons', 'charts-dark.svg'),
    };
    this.owned.push(
      panel.onDidDispose(() => this.dispose()),
      panel.onDidChangeViewState(() => this.onVisibility()),
      webview.onDidReceiveMessage((message: unknown) => this.receive(message)),
      services.runs.onDelta(() => this.onDelta()),
      workspace.onDidGrantWorkspaceTrust(() => this.postRuns()),
    );
    this.updateTitle();
    loadPage(webview, services.context.extensionUri, { bundle: 'charts', title: l10n.t('Live Charts') });
    this.onVisibility();
  }

  get directories(): readonly string[] {
    return this.shown.map(({ directory }) => directory);
  }

  reveal(): void {
    this.panel.reveal(undefined, false);
  }

  addRuns(directories: readonly string[]): void {
    const known = new Set(this.directories);
    const added = directories.filter((directory) => !known.has(directory)).map((directory) => this.chartRun(directory));
    if (added.length === 0) return;
    this.shown = [...this.shown, ...added];
    this.updateTitle();
    this.postRuns();
    this.rewatch();
    this.pumpSoon(0);
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.stopLooking();
    for (const run of this.shown) run.dispose();
    disposeAll(this.owned);
  }

  private chartRun(directory: string): ChartRun {
    return new ChartRun(directory, this.services.runs, this.services.log);
  }

  private receive(message: unknown): void {
    const problem = dispatch(message, [
      on(Ready, () => this.start()),
      on(RequestSnapshot, ({ run }) => this.withRun(run, (found) => this.postAll(found.feed.snapshot()))),
      on(Control, ({ run, verb }) => this.withRun(run, (found) => void this.control(found, verb))),
      on(AddRuns, () => void this.pickRuns()),
      on(CompareRuns, () => void executeCommand('lrqat.compareRuns', this.directories)),
      on(RemoveRun, ({ run }) => this.remove(run)),
      on(Open, ({ run, what }) => this.withRun(run, (found) => void this.open(found, what))),
      on(Export, (request) => void this.save(request)),
      on(Report, ({ message: text }) => this.services.log.warn(`charts page: ${text}`)),
    ]);
    if (problem !== null) this.services.log.warn(`charts: a message was refused: ${problem}`);
  }

  private withRun(id: string, action: (run: ChartRun) => void): void {
    const run = this.shown.find((each) => each.id === id);
    if (run === undefined) this.services.log.warn(`charts: no run ${id} in this panel`);
    else action(run);
  }

  private start(): void {
    this.ready = true;
    this.services.walkthrough.happened('charts');
    this.postRuns();
    for (const run of this.shown) this.postAll(run.feed.snapshot());
    this.onVisibility();
    this.pumpSoon(0);
  }

  private onVisibility(): void {
    if (this.panel.visible) {
      this.viewing ??= this.services.runs.view();
      this.pace ??= setInterval(() => void this.pump(), PACE);
      this.rewatch();
    } else {
      // A hidden page is thrown away; it says Ready when it is back.
      this.ready = false;
      this.stopLooking();
    }
  }

  private rewatch(): void {
    if (!this.panel.visible) return;
    for (const run of this.shown) {
      if (run.needsReading) run.watch(() => this.pumpSoon(SETTLE));
    }
  }

  private stopLooking(): void {
    this.viewing?.dispose();
    this.viewing = null;
    if (this.pace !== null) clearInterval(this.pace);
    if (this.settle !== null) clearTimeout(this.settle);
    this.pace = null;
    this.settle = null;
    for (const run of this.shown) run.unwatch();
  }

  private onDelta(): void {
    this.updateTitle();
    this.postRuns();
    this.rewatch();
    this.pumpSoon(SETTLE);
  }

  private pumpSoon(delay: number): void {
    this.settle ??= setTimeout(() => {
      this.settle = null;
      void this.pump();
    }, delay);
  }

  /** Reads what is new of all runs and tells the page. */
  private async pump(): Promise<void> {
    if (!this.ready || this.disposed) return;
    if (this.pumping) {
      this.again = true;
      return;
    }
    this.pumping = true;
    this.again = false;
    try {
      for (const run of this.shown) {
        if (!run.needsReading) continue;
        // What is read beside the metrics: a run that has ended tells nothing else that would show it.
        const told = (): string => JSON.stringify([run.loading, run.device, run.setting]);
        const before = told();
        if (await run.read()) this.again = true;
        if (told() !== before) this.postRuns();
        if (this.isShown()) this.postAll(run.feed.delta());
      }
    } finally {
      this.pumping = false;
    }
    if (this.again) this.pumpSoon(0);
  }

  private isShown(): boolean {
    return this.ready && !this.disposed;
  }

  private postRuns(): void {
    if (!this.isShown()) return;
    const reason = workspace.isTrusted ? null : l10n.t('Runs cannot be controlled in restricted mode.');
    this.post(Runs.of({ runs: this.shown.map((run) => run.info()), controls: { allowed: reason === null, reason } }));
  }

  private postAll(pieces: Iterable<Parameters<typeof Data.of>[0]>): void {
    for (const piece of pieces) this.post(Data.of(piece));
  }

  private post(message: Message): void {
    if (!this.disposed) void this.panel.webview.postMessage(message);
  }

  private async control(run: ChartRun, verb: ControlVerb): Promise<void> {
    // Stop asks first: what is pending is then the dialog, not the trainer.
    if (verb !== 'stop') run.pending = verb;
    this.postRuns();
    try {
      await executeCommand(COMMAND_OF[verb], run.directory);
    } finally {
      run.pending = null;
      this.postRuns();
    }
  }

  private async pickRuns(): Promise<void> {
    this.addRuns(await pickMoreRuns(this.directories, this.services));
  }

  private remove(id: string): void {
    if (this.shown.length <= 1) return;
    for (const run of this.shown.filter((each) => each.id === id)) run.dispose();
    this.shown = this.shown.filter((run) => run.id !== id);
    this.updateTitle();
    this.postRuns();
  }

  private async open(run: ChartRun, what: 'log' | 'folder' | 'experiment'): Promise<void> {
    if (what === 'log') await executeCommand('lrqat.showLog', run.directory);
    else if (what === 'folder') await executeCommand('lrqat.revealRun', run.directory);
    else {
      const entry = this.services.runs.get(run.directory);
      const source = entry?.kind === 'run' ? entry.origin.experimentFile : null;
      const file = source !== null && existsSync(source) ? source : runPaths(run.directory).experiment;
      await window.showTextDocument(Uri.file(file), { viewColumn: ViewColumn.Beside });
    }
  }

  private async save({ id, kind, suggestedName, data }: Parameters<typeof Export.of>[0]): Promise<void> {
    const folder = workspace.workspaceFolders?.[0]?.uri;
    // The page suggests a name, not a place.
    const name = path.basename(suggestedName.replaceAll('\\', '/'));
    const target = await window.showSaveDialog({
      title: kind === 'png' ? l10n.t('Save the Picture') : l10n.t('Save the Data'),
      filters: kind === 'png' ? { PNG: ['png'] } : { CSV: ['csv'] },
      ...(folder === undefined ? {} : { defaultUri: Uri.joinPath(folder, name) }),
    });
    if (target === undefined) {
      this.post(Exported.of({ id, outcome: 'cancelled', message: null }));
      return;
    }
    try {
      await workspace.fs.writeFile(target, new Uint8Array(data));
      this.post(Exported.of({ id, outcome: 'saved', message: target.fsPath }));
    } catch (error) {
      this.post(Exported.of({ id, outcome: 'failed', message: messageOf(error) }));
      this.post(Notice.of({ severity: 'error', message: messageOf(error) }));
    }
  }

  private updateTitle(): void {
    const [first] = this.shown;
    if (first === undefined) return;
    const entry = this.services.runs.get(first.directory);
    // As in the header: runs of one experiment are told apart by their time.
    const name = entry?.kind === 'run' ? longName(entry) : path.basename(first.directory);
    const title = this.shown.length === 1 ? name : `${name} +${String(this.shown.length - 1)}`;
    if (this.panel.title !== title) this.panel.title = title;
  }
}
