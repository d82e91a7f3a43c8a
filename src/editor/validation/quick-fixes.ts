// Quick fixes: the replacements that validation names, and what makes a run fit into memory.
import { CodeAction, CodeActionKind, languages, Range, WorkspaceEdit, type TextDocument } from 'vscode';
import type { Fix } from '../../experiment';
import { LANGUAGE } from '../contributions';
import type { Owned } from '../owned';
import type { ExperimentDiagnostics } from './diagnostics';

export function registerQuickFixes(diagnostics: ExperimentDiagnostics): Owned {
  return languages.registerCodeActionsProvider(
    { language: LANGUAGE },
    {
      provideCodeActions(document, _range, context) {
        return context.diagnostics.flatMap((diagnostic) =>
          diagnostics.fixesOf(document, diagnostic).map((fix, index) => {
            const action = new CodeAction(fix.title, CodeActionKind.QuickFix);
            action.diagnostics = [diagnostic];
            action.edit = editOf(document, fix);
            action.isPreferred = index === 0;
            return action;
          }),
        );
      },
    },
    { providedCodeActionKinds: [CodeActionKind.QuickFix] },
  );
}

export function editOf(document: TextDocument, { edits }: Fix): WorkspaceEdit {
  const change = new WorkspaceEdit();
  for (const { offset, length, text } of edits) {
    change.replace(document.uri, new Range(document.positionAt(offset), document.positionAt(offset + length)), text);
  }
  return change;
}
