// One form that is open: tells the page how the document stands, and makes edits of the document of what the page asks for.
import { Position, Range, workspace, WorkspaceEdit, type TextDocument, type WebviewPanel } from 'vscode';
import path from 'node:path';
import {
  Append,
  Facts,
  Fix,
  Pick,
  Ready,
  Remove,
  Report,
  RequestWeights,
  Set as SetValue,
  SetAll,
  ShowText,
  StartTraining,
  State,
  Weights,
  WeightsMissing,
  type Json,
} from '../../../webview/form/protocol';
import { dispatch, on, type Message } from '../../../webview/shared/messages';
import { messageOf } from '../../errors';
import type { KeyPath, TextEdit } from '../../experiment';
import { ExperimentDocument } from '../../experiment/document';
import { writtenPath } from '../experiments/new-experiment';
import { l10n } from '../l10n';
import { disposeAll, type Owned } from '../owned';
import { loadPage } from '../panel-page';
import { executeCommand, showError } from '../register';
import type { Services } from '../services';
import type { ExperimentDiagnostics } from '../validation/diagnostics';
import { editsForAll, type Change } from './edits';
import { formState } from './form-state';
import { pickFiles, pickModelFor } from './pick';
import { showText } from './switch-editor';

export class FormSession {
  private readonly owned: Owned[] = [];
  private ready = false;
  private before: Json = {};
  private factsSent = '';
  /** Edits follow each other: each is made for the text that the one before has left. */
  private edits: Promise<void> = Promise.resolve();

  constructor(
    private readonly document: TextDocument,
    private readonly panel: WebviewPanel,
    private readonly services: Services,
    private readonly diagnostics: ExperimentDiagnostics,
  ) {
    const { webview } = panel;
    this.owned.push(
      panel.onDidDispose(() => disposeAll(this.owned)),
      // A hidden page is thrown away; it says Ready when it is back.
      panel.onDidChangeViewState(() => {
        if (!panel.visible) this.ready = false;
      }),
      webview.onDidReceiveMessage((message: unknown) => this.receive(message)),
      workspace.onDidChangeTextDocument(({ document: changed, contentChanges }) => {
        if (changed === document && contentChanges.length > 0) this.postState();
      }),
      diagnostics.onChecked((checked) => {
        if (checked !== document) return;
        this.postState();
        this.postFacts();
      }),
    );
    const title = path.basename(document.fileName);
    loadPage(webview, services.context.extensionUri, { bundle: 'form', title });
  }

  private receive(message: unknown): void {
    const problem = dispatch(message, [
      on(Ready, () => this.start()),
      on(SetValue, ({ path: at, value }) => this.change({ kind: 'set', path: at, value })),
      on(SetAll, ({ values }) => this.change(...values.map((each) => ({ kind: 'set', ...each }) as const))),
      on(Append, ({ path: at, value }) => this.change({ kind: 'append', path: at, value })),
      on(Remove, ({ path: at }) => this.change({ kind: 'remove', path: at })),
      on(Fix, (request) => this.fix(request)),
      on(Pick, ({ path: at, what }) => void this.attempt(() => this.pick(at, what))),
      on(ShowText, (where) => void this.attempt(() => this.showPlace(where))),
      on(RequestWeights, (request) => void this.sendWeights(request)),
      on(StartTraining, () => void executeCommand('lrqat.startTraining', this.document.uri)),
      on(Report, ({ message: words }) => this.services.log.warn(`form page: ${words}`)),
    ]);
    if (problem !== null) this.services.log.warn(`form: a message was refused: ${problem}`);
  }

  private start(): void {
    this.ready = true;
    this.factsSent = '';
    this.services.walkthrough.happened('form');
    this.postState();
    this.postFacts();
  }

  private postState(): void {
    const { document } = this;
    const state = formState({
      text: document.getText(),
      version: document.version,
      file: path.basename(document.fileName),
      problems: this.diagnostics.problemsOf(document),
      before: this.before,
    });
    this.before = state.written;
    this.post(State.of(state));
  }

  private postFacts(): void {
    const facts = this.diagnostics.factsOf(this.document);
    if (facts === undefined) return;
    const { modelFolder, shape, machine, calibration } = facts;
    const message = Facts.of({
      model: modelFolder,
      shape,
      machine: { ...machine, device: machine.device ?? 'cpu' },
      calibration,
    });
    const key = JSON.stringify(message);
    if (!this.ready || key === this.factsSent) return;
    this.factsSent = key;
    this.post(message);
  }

  private post(message: Message): void {
    if (this.ready) void this.panel.webview.postMessage(message);
  }

  // ── Edits ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private change(...changes: readonly Change[]): void {
    this.edit(() => editsForAll(this.document.getText(), changes));
  }

  private fix({ version, problem, fix, title }: Parameters<typeof Fix.of>[0]): void {
    this.edit(() => {
      const { diagnostics, document } = this;
      // Places of an older text would tear the new one apart.
      if (version !== document.version || diagnostics.versionChecked(document) !== version) return [];
      const found = diagnostics.problemsOf(document)[problem]?.fixes?.[fix];
      return found?.title === title ? found.edits : [];
    });
  }

  /** One step of undo. What is refused is told, and the page shows the text as it is again. */
  private edit(make: () => readonly TextEdit[]): void {
    this.edits = this.edits.then(() =>
      this.attempt(async () => {
        const edits = make();
        if (edits.length === 0) {
          this.postState();
          return;
        }
        const { document } = this;
        const edit = new WorkspaceEdit();
        for (const { offset, length, text } of edits) {
          const range = new Range(document.positionAt(offset), document.positionAt(offset + length));
          edit.replace(document.uri, range, text);
        }
        if (!(await workspace.applyEdit(edit))) this.postState();
      }),
    );
  }

  private async attempt(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.postState();
      void showError(error, this.services.log);
    }
  }

  // ── Files ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private async pick(at: KeyPath, what: 'model' | 'files'): Promise<void> {
    const folder = path.dirname(this.document.uri.fsPath);
    if (what === 'model') {
      const model = await pickModelFor(folder);
      if (model !== undefined) this.change({ kind: 'set', path: at, value: writtenPath(model, folder) });
      return;
    }
    const files = await pickFiles(folder);
    if (files.length === 0) return;
    this.change(...files.map((file) => ({ kind: 'append', path: at, value: writtenPath(file, folder) }) as const));
  }

  private async showPlace({ path: at, position }: Parameters<typeof ShowText.of>[0]): Promise<void> {
    const { document } = this;
    if (position !== null) {
      await showText(document.uri, new Position(Math.max(0, position.line - 1), Math.max(0, position.column - 1)));
      return;
    }
    if (at === null) {
      await showText(document.uri, null);
      return;
    }
    const { line, column } = new ExperimentDocument(document.getText(), document.fileName).anchor(at);
    await showText(document.uri, new Position(line - 1, column - 1));
  }

  private async sendWeights({ model, linear }: Parameters<typeof RequestWeights.of>[0]): Promise<void> {
    // The page names the model it means, not a folder to read.
    const folder = this.diagnostics.factsOf(this.document)?.modelFolder;
    if (folder === undefined || folder !== model) return;
    try {
      const { rows, columns, values } = await this.services.world.sampleWeights(folder, linear);
      this.post(Weights.of({ model, linear, rows, columns, values: values.buffer as ArrayBuffer }));
    } catch (error) {
      this.services.log.warn(`form: ${messageOf(error)}`);
      this.post(
        WeightsMissing.of({ model, linear, message: l10n.t('The weights cannot be read: {0}', messageOf(error)) }),
      );
    }
  }
}
