// The walkthrough "Your first 2-bit model". VS Code shows it and ticks off a step when the step's context key turns true, but only once
// it has read the walkthrough, which it does when the first page of that kind is opened; of a key that is true by then it takes no
// notice. So what has happened is remembered here, and each key is true for a moment only: at once, and again when such a page shows.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { commands, window, workspace, type Disposable, type ExtensionContext, type Uri } from 'vscode';
import { SAMPLE_EXPERIMENT, WALKTHROUGH, type WalkthroughStep } from './contributions';
import { disposeAll, type Owned } from './owned';
import { setContext } from './register';
import type { WorkspaceRuns } from './workspace-runs';

/** In the global state: the copy of the sample that a window is about to open, to be guided through there. */
const GUIDED = 'walkthrough.folder';
/** Milliseconds after a page has shown: VS Code reads walkthroughs at its leisure. */
const TELL_AGAIN = [300, 2_000, 6_000];

export class Walkthrough implements Disposable {
  private readonly done = new Set<WalkthroughStep>();
  private readonly owned: Owned[];
  private timers: NodeJS.Timeout[] = [];
  private readonly since = Date.now();

  constructor(
    private readonly context: ExtensionContext,
    runs: WorkspaceRuns,
  ) {
    this.owned = [
      window.tabGroups.onDidChangeTabs(({ opened, changed }) => {
        // Pages of VS Code itself have no input.
        if ([...opened, ...changed].some(({ input }) => input === undefined)) this.tellAgain();
      }),
      runs.onDelta(({ added, changed }) => {
        const trained = [...added, ...changed].some(
          (entry) => entry.kind === 'run' && entry.status.step > 0 && (entry.status.started ?? 0) > this.since,
        );
        if (trained) this.happened('start');
      }),
    ];
    void runs.loaded.then(() => this.goOn());
  }

  happened(step: WalkthroughStep): void {
    if (this.done.has(step)) return;
    this.done.add(step);
    tell(step);
  }

  async open(): Promise<void> {
    const id = `${this.context.extension.id}#${WALKTHROUGH}`;
    await commands.executeCommand('workbench.action.openWalkthrough', id, false);
  }

  /** Opening a folder starts its window anew: the walkthrough goes on in the one that comes. */
  async guideThrough(folder: Uri): Promise<void> {
    this.happened('sample');
    await this.context.globalState.update(GUIDED, folder.toString());
  }

  dispose(): void {
    this.timers.forEach(clearTimeout);
    disposeAll(this.owned);
  }

  private goOn(): void {
    const { globalState } = this.context;
    const folders = workspace.workspaceFolders?.map(({ uri }) => uri) ?? [];
    if (folders.some(({ fsPath }) => existsSync(path.join(fsPath, SAMPLE_EXPERIMENT)))) this.happened('sample');
    const guided = globalState.get(GUIDED);
    if (!folders.some((uri) => uri.toString() === guided)) return;
    void globalState.update(GUIDED, undefined);
    void this.open();
  }

  private tellAgain(): void {
    this.timers.forEach(clearTimeout);
    this.timers = TELL_AGAIN.map((delay) => setTimeout(() => this.done.forEach(tell), delay).unref());
  }
}

function tell(step: WalkthroughStep): void {
  setContext(`lrqat.did.${step}`, true);
  setContext(`lrqat.did.${step}`, false);
}
