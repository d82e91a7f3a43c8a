// Problems of experiment files as diagnostics while somebody types: those of the text at once, those of model, texts and memory as
// soon as the world thread has looked.
import {
  Diagnostic,
  DiagnosticSeverity,
  languages,
  Range,
  workspace,
  type DiagnosticCollection,
  type TextDocument,
} from 'vscode';
import { parseExperiment, type Fix, type Problem } from '../../experiment';
import { LANGUAGE } from '../contributions';
import { l10n } from '../l10n';
import { disposeAll, type Owned } from '../owned';
import type { Services } from '../services';
import type { EstimateSummary, PlanFacts } from './world-protocol';
import { questionAbout } from './world-question';

/** Milliseconds without a key press before the text is looked at, and before the world is. */
const TYPING = 100;
const THINKING = 400;

/** `fromWorld`: found by looking at model, texts and memory, not in the text. */
interface Located extends Problem {
  readonly fromWorld?: boolean;
}

interface Checked {
  readonly version: number;
  readonly problems: readonly Located[];
  readonly fixes: ReadonlyMap<Diagnostic, readonly Fix[]>;
}

export class ExperimentDiagnostics {
  private readonly collection: DiagnosticCollection;
  private readonly checked = new Map<string, Checked>();
  private readonly estimates = new Map<string, EstimateSummary | null>();
  private readonly facts = new Map<string, PlanFacts>();
  private readonly timers = new Map<string, NodeJS.Timeout>();
  private readonly owned: Owned[];
  private readonly listeners = new Set<() => void>();
  private readonly checkListeners = new Set<(document: TextDocument) => void>();

  constructor(private readonly services: Services) {
    this.collection = languages.createDiagnosticCollection('lrqat');
    this.owned = [
      this.collection,
      workspace.onDidOpenTextDocument((document) => this.check(document, 0)),
      workspace.onDidChangeTextDocument(({ document }) => this.check(document, TYPING)),
      workspace.onDidSaveTextDocument((document) => this.check(document, 0)),
      workspace.onDidCloseTextDocument((document) => this.forget(document)),
      workspace.onDidGrantWorkspaceTrust(() => this.checkAll()),
    ];
    this.checkAll();
  }

  /** Called when an estimate, or the number of errors in a document, has changed. */
  onSummary(listener: () => void): void {
    this.listeners.add(listener);
  }

  /** Called when problems or facts of a document have been looked at anew. */
  onChecked(listener: (document: TextDocument) => void): Owned {
    this.checkListeners.add(listener);
    return { dispose: () => this.checkListeners.delete(listener) };
  }

  /** Of the last text whose model could be read; undefined: of none yet. */
  factsOf(document: TextDocument): PlanFacts | undefined {
    return this.facts.get(document.uri.toString());
  }

  /** undefined: not known yet; null: cannot be said. */
  estimateOf(document: TextDocument): EstimateSummary | null | undefined {
    return this.estimates.get(document.uri.toString());
  }

  fixesOf(document: TextDocument, diagnostic: Diagnostic): readonly Fix[] {
    const checked = this.checked.get(document.uri.toString());
    // Places of an older text would tear the new one apart.
    if (checked?.version !== document.version) return [];
    // VS Code hands out copies of what it was given.
    for (const [own, fixes] of checked.fixes) {
      if (own.message === diagnostic.message && own.range.isEqual(diagnostic.range)) return fixes;
    }
    return [];
  }

  /** Of the text that `problemsOf` is about. */
  versionChecked(document: TextDocument): number | undefined {
    return this.checked.get(document.uri.toString())?.version;
  }

  problemsOf(document: TextDocument): readonly Problem[] {
    return this.checked.get(document.uri.toString())?.problems ?? [];
  }

  errorsOf(document: TextDocument): number {
    return this.problemsOf(document).filter(({ severity }) => severity === 'error').length;
  }

  dispose(): void {
    for (const timer of this.timers.values()) clearTimeout(timer);
    disposeAll(this.owned);
  }

  private checkAll(): void {
    for (const document of workspace.textDocuments) this.check(document, 0);
  }

  private check(document: TextDocument, delay: number): void {
    if (document.languageId !== LANGUAGE) return;
    const key = document.uri.toString();
    clearTimeout(this.timers.get(key));
    this.timers.set(
      key,
      setTimeout(() => {
        this.checkText(document);
      }, delay),
    );
  }

  /** Synchronous and fast: a few milliseconds for thousands of lines. */
  private checkText(document: TextDocument): void {
    if (document.isClosed) return;
    const key = document.uri.toString();
    const { experiment, sound, problems } = parseExperiment(document.getText(), document.fileName);
    const checkable = (experiment ?? sound) !== undefined;
    // What the world has said stays until it has looked again: problems must not flicker with every key.
    const before = this.checked.get(key)?.problems.filter(({ fromWorld }) => fromWorld === true) ?? [];
    this.show(document, [...problems, ...(checkable ? before : [])]);
    if (experiment === undefined || document.uri.scheme !== 'file') this.setEstimate(key, null);
    if (!checkable || document.uri.scheme !== 'file') return;
    this.timers.set(
      key,
      setTimeout(() => void this.checkWorld(document), THINKING),
    );
  }

  private async checkWorld(document: TextDocument): Promise<void> {
    const { world, log, rates } = this.services;
    const { version, uri } = document;
    const key = uri.toString();
    try {
      const answer = await world.ask(await questionAbout(document, this.services));
      if (document.isClosed || document.version !== version) return;
      if (answer === null) {
        // The start of its runs has asked about the same file, and has been answered alone.
        this.check(document, 0);
        return;
      }
      if (answer.facts !== null) this.facts.set(key, answer.facts);
      const own = new Set(parseExperiment(document.getText(), document.fileName).problems.map(identity));
      this.show(
        document,
        answer.problems.map((problem): Located => ({ ...problem, fromWorld: !own.has(identity(problem)) })),
      );
      this.setEstimate(key, answer.estimate);
      if (answer.toMeasure !== null && (await rates.measure(answer.toMeasure))) this.check(document, 0);
    } catch (error) {
      log.warn(`${uri.fsPath}: could not be checked against its model and texts: ${String(error)}`);
    }
  }

  private show(document: TextDocument, problems: readonly Located[]): void {
    const fixes = new Map<Diagnostic, readonly Fix[]>();
    const diagnostics = problems.map((problem) => {
      const diagnostic = diagnosticOf(problem);
      if (problem.fixes !== undefined) fixes.set(diagnostic, problem.fixes);
      return diagnostic;
    });
    const errors = this.errorsOf(document);
    this.checked.set(document.uri.toString(), { version: document.version, problems, fixes });
    this.collection.set(document.uri, diagnostics);
    if (this.errorsOf(document) !== errors) for (const listener of this.listeners) listener();
    for (const listener of this.checkListeners) listener(document);
  }

  private setEstimate(key: string, estimate: EstimateSummary | null): void {
    const before = JSON.stringify(this.estimates.get(key));
    this.estimates.set(key, estimate);
    if (JSON.stringify(estimate) !== before) for (const listener of this.listeners) listener();
  }

  private forget(document: TextDocument): void {
    const key = document.uri.toString();
    clearTimeout(this.timers.get(key));
    this.timers.delete(key);
    this.checked.delete(key);
    this.estimates.delete(key);
    this.facts.delete(key);
    this.collection.delete(document.uri);
  }
}

const identity = ({ path, message, line, column }: Problem): string =>
  `${String(line)}:${String(column)} ${path} ${message}`;

function diagnosticOf({ line, column, endLine, endColumn, message, hint, severity, path }: Problem): Diagnostic {
  const range = new Range(line - 1, column - 1, endLine - 1, endColumn - 1);
  const text = hint === undefined ? message : `${message}\n${l10n.t('Hint: {0}', hint)}`;
  const level = severity === 'error' ? DiagnosticSeverity.Error : DiagnosticSeverity.Warning;
  const diagnostic = new Diagnostic(range, text, level);
  diagnostic.source = 'lrqat';
  if (path !== '') diagnostic.code = path;
  return diagnostic;
}
