// The host of one compare panel: tells the page what its runs are and does what it asks for.
import { env, Uri, ViewColumn, window, workspace, type Disposable, type WebviewPanel } from 'vscode';
import {
  AddRuns,
  Changed,
  Copy,
  Notice,
  OpenCharts,
  Ready,
  RemoveRun,
  Report,
  Runs,
  SaveReport,
  type Run,
} from '../../../webview/compare/protocol';
import { dispatch, on, type Message } from '../../../webview/shared/messages';
import { messageOf } from '../../errors';
import { comparisonReport, curveOf, factsOf } from '../../compare';
import { readRun, type RunDelta } from '../../runs';
import { pickMoreRuns } from '../charts/pick-more';
import { COMPARE_PANEL } from '../contributions';
import { l10n } from '../l10n';
import { disposeAll, type Owned } from '../owned';
import { loadPage } from '../panel-page';
import { executeCommand } from '../register';
import type { Services } from '../services';
import { CompareRun } from './compare-run';

/** Files read at a time: enough to keep a disk busy, few enough to leave room for others. */
const AT_ONCE = 16;
/** Runs read with all their steps: these may be many. */
const WHOLE_AT_ONCE = 2;

export class ComparePanel implements Disposable {
  private shown: CompareRun[];
  private readonly owned: Owned[] = [];
  private ready = false;
  private viewing: Disposable | null = null;
  private disposed = false;
  /** What the page was last told of a run, as text. */
  private readonly told = new Map<string, string>();

  static create(directories: readonly string[], services: Services): ComparePanel {
    const panel = window.createWebviewPanel(COMPARE_PANEL, l10n.t('Compare Runs'), ViewColumn.Active, {});
    return new ComparePanel(panel, directories, services);
  }

  /** @param panel new, or restored by VS Code after a reload */
  constructor(
    readonly panel: WebviewPanel,
    directories: readonly string[],
    private readonly services: Services,
  ) {
    this.shown = directories.map((directory) => new CompareRun(directory, services.runs));
    const { webview } = panel;
    panel.iconPath = {
      light: Uri.joinPath(services.context.extensionUri, 'media', 'icons', 'compare-light.svg'),
      dark: Uri.joinPath(services.context.extensionUri, 'media', 'icons', 'compare-dark.svg'),
    };
    this.owned.push(
      panel.onDidDispose(() => this.dispose()),
      panel.onDidChangeViewState(() => this.onVisibility()),
      webview.onDidReceiveMessage((message: unknown) => this.receive(message)),
      services.runs.onDelta((delta) => void this.onDelta(delta)),
    );
    this.updateTitle();
    loadPage(webview, services.context.extensionUri, { bundle: 'compare', title: l10n.t('Compare Runs') });
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
    const added = directories.filter((directory) => !known.has(directory));
    if (added.length === 0) return;
    this.shown = [...this.shown, ...added.map((directory) => new CompareRun(directory, this.services.runs))];
    this.updateTitle();
    void this.tellAll();
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.viewing?.dispose();
    disposeAll(this.owned);
  }

  private receive(message: unknown): void {
    const { log } = this.services;
    const problem = dispatch(message, [
      on(Ready, () => void this.start()),
      on(AddRuns, () => void this.pickRuns()),
      on(RemoveRun, ({ run }) => this.remove(run)),
      on(OpenCharts, ({ runs }) => void executeCommand('lrqat.openCharts', this.directoriesOf(runs))),
      on(Copy, ({ format, text }) => void this.copy(format, text)),
      on(SaveReport, (request) => void this.saveReport(request)),
      on(Report, ({ message: text }) => log.warn(`compare page: ${text}`)),
    ]);
    if (problem !== null) log.warn(`compare: a message was refused: ${problem}`);
  }

  private async start(): Promise<void> {
    this.ready = true;
    // After a reload the panel is back before the folders have been looked through.
    await this.services.runs.loaded;
    await this.tellAll();
  }

  private onVisibility(): void {
    if (this.panel.visible) {
      this.viewing ??= this.services.runs.view();
      return;
    }
    // A hidden page is thrown away; it says Ready when it is back.
    this.ready = false;
    this.viewing?.dispose();
    this.viewing = null;
  }

  /** Everything, as soon as the experiments have been read; what evaluations tell follows. */
  private async tellAll(): Promise<void> {
    const runs = this.shown;
    const further = await inTurns(runs, (run) => this.read(run));
    if (!this.isShown()) return;
    const rows = this.shown.flatMap((run) => run.row() ?? []);
    this.told.clear();
    for (const row of rows) this.told.set(row.id, JSON.stringify(row));
    this.post(Runs.of({ runs: rows }));
    const unfinished = runs.filter((_, index) => further[index] === true);
    await this.readOn(unfinished);
  }

  private async onDelta({ added, changed, removed }: RunDelta): Promise<void> {
    const touched = new Set([...added, ...changed].map(({ directory }) => directory));
    const gone = new Set(removed);
    const runs = this.shown.filter(({ directory }) => touched.has(directory) || gone.has(directory));
    if (runs.length === 0) return;
    this.updateTitle();
    if (!this.isShown()) return;
    if (runs.some(({ id }) => !this.told.has(id))) await this.tellAll();
    else await this.readOn(runs);
  }

  /** Reads these runs to their end and tells the page what is new. */
  private async readOn(runs: readonly CompareRun[]): Promise<void> {
    let left = runs;
    while (left.length > 0) {
      const further = await inTurns(left, (run) => this.read(run));
      if (!this.isShown()) return;
      const news = left.flatMap((run) => this.news(run));
      if (news.length > 0) this.post(Changed.of({ runs: news }));
      left = left.filter((_, index) => further[index] === true);
    }
  }

  private news(run: CompareRun): Run[] {
    const row = run.row();
    if (row === null || !this.told.has(run.id)) return [];
    const text = JSON.stringify(row);
    if (this.told.get(run.id) === text) return [];
    this.told.set(run.id, text);
    return [row];
  }

  private async read(run: CompareRun): Promise<boolean> {
    try {
      return await run.read();
    } catch (error) {
      // A folder half copied or gone: what is known of the run stays.
      this.services.log.warn(`${run.directory}: ${messageOf(error)}`);
      return false;
    }
  }

  private isShown(): boolean {
    return this.ready && !this.disposed;
  }

  private post(message: Message): void {
    if (this.isShown()) void this.panel.webview.postMessage(message);
  }

  private directoriesOf(ids: readonly string[]): string[] {
    const known = new Map(this.shown.map(({ id, directory }) => [id, directory]));
    return ids.flatMap((id) => known.get(id) ?? []);
  }

  private async copy(format: string, text: string): Promise<void> {
    try {
      await env.clipboard.writeText(text);
      const name = { markdown: 'Markdown', latex: 'LaTeX', csv: 'CSV' }[format] ?? format;
      this.post(Notice.of({ severity: 'information', message: l10n.t('Copied as {0}', name) }));
    } catch (error) {
      this.post(Notice.of({ severity: 'error', message: messageOf(error) }));
    }
  }

  private async saveReport({ runs: ids, baseline, identical }: Parameters<typeof SaveReport.of>[0]): Promise<void> {
    const folder = workspace.workspaceFolders?.[0]?.uri;
    const target = await window.showSaveDialog({
      title: l10n.t('Save the Report'),
      filters: { HTML: ['html'] },
      ...(folder === undefined ? {} : { defaultUri: Uri.joinPath(folder, 'comparison.html') }),
    });
    if (target === undefined) return;
    try {
      const { title } = this.panel;
      const directories = this.directoriesOf(ids);
      const runs = await inTurns(
        directories,
        async (directory) => {
          const run = await readRun(directory);
          return { ...factsOf(run), curve: curveOf(run.events) };
        },
        WHOLE_AT_ONCE,
      );
      const index = baseline === null ? 0 : Math.max(0, ids.indexOf(baseline));
      const { version } = this.services.context.extension.packageJSON as { readonly version: string };
      const report = comparisonReport(runs, { baseline: index, identical, title, time: Date.now(), version });
      await workspace.fs.writeFile(target, new TextEncoder().encode(report));
      this.post(Notice.of({ severity: 'information', message: l10n.t('Saved {0}', target.fsPath) }));
    } catch (error) {
      this.post(Notice.of({ severity: 'error', message: messageOf(error) }));
    }
  }

  private async pickRuns(): Promise<void> {
    this.addRuns(await pickMoreRuns(this.directories, this.services, l10n.t('Compare More Runs')));
  }

  private remove(id: string): void {
    this.shown = this.shown.filter((run) => run.id !== id);
    this.updateTitle();
    void this.tellAll();
  }

  private updateTitle(): void {
    const count = this.shown.length;
    const title = count === 1 ? l10n.t('Compare 1 Run') : l10n.t('Compare {0} Runs', count);
    if (this.panel.title !== title) this.panel.title = title;
    if (count > 1) this.services.walkthrough.happened('compare');
  }
}

/** Results in the order of the items; some at a time. */
async function inTurns<Item, Result>(
  items: readonly Item[],
  action: (item: Item) => Promise<Result>,
  atOnce = AT_ONCE,
): Promise<Result[]> {
  const results: Result[] = [];
  for (let from = 0; from < items.length; from += atOnce) {
    results.push(...(await Promise.all(items.slice(from, from + atOnce).map(action))));
  }
  return results;
}
