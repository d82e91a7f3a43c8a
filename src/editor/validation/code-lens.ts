// The code lens above an experiment: Start Training, and what the run would need.
import { CodeLens, EventEmitter, languages, Range, workspace, type TextDocument } from 'vscode';
import { LANGUAGE } from '../contributions';
import { l10n } from '../l10n';
import { disposeAll, type Owned } from '../owned';
import { setting } from '../settings';
import type { ExperimentDiagnostics } from './diagnostics';
import { lensTitles } from './lens-text';

export function registerCodeLens(diagnostics: ExperimentDiagnostics): Owned {
  const changed = new EventEmitter<void>();
  diagnostics.onSummary(() => changed.fire());
  const owned: Owned[] = [
    changed,
    workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration('lrqat.codeLens')) changed.fire();
    }),
    languages.registerCodeLensProvider(
      { language: LANGUAGE },
      {
        onDidChangeCodeLenses: changed.event,
        provideCodeLenses: (document) => lensesOf(document, diagnostics),
      },
    ),
  ];
  return { dispose: () => disposeAll(owned) };
}

function lensesOf(document: TextDocument, diagnostics: ExperimentDiagnostics): CodeLens[] {
  if (!setting('lrqat.codeLens', document.uri) || document.uri.scheme !== 'file') return [];
  const errors = diagnostics.errorsOf(document);
  const range = placeOf(document);
  const start = new CodeLens(range, {
    title: `$(play) ${l10n.t('Start Training')}`,
    tooltip: l10n.t('Saves the file, checks everything and starts a run'),
    command: 'lrqat.startTraining',
    arguments: [document.uri],
  });
  const form = new CodeLens(range, {
    title: `$(edit) ${l10n.t('Open Form')}`,
    tooltip: l10n.t('Shows the file as a form, with what its settings need'),
    command: 'lrqat.openForm',
    arguments: [document.uri],
  });
  const estimate = diagnostics.estimateOf(document);
  const titles = lensTitles(estimate);
  const information = titles.map((title) => new CodeLens(range, { title, command: '' }));
  const problems =
    errors === 0
      ? []
      : [
          new CodeLens(range, {
            title: errors === 1 ? l10n.t('$(error) 1 error') : l10n.t('$(error) {0} errors', errors),
            command: 'workbench.actions.view.problems',
          }),
        ];
  return [start, form, ...problems, ...information];
}

/** The line of the first brace: comments may stand above it. */
function placeOf(document: TextDocument): Range {
  for (let line = 0; line < document.lineCount; line++) {
    const text = document.lineAt(line).text.trimStart();
    if (text.startsWith('{')) return new Range(line, 0, line, 0);
  }
  return new Range(0, 0, 0, 0);
}
