// Completion and hover of experiments come from VS Code's own JSON service. It serves our language as well (package.json,
// jsonLanguageParticipants), but only files of JSON itself wake it up; in a window where none has been opened we do.
import { extensions, workspace, type Disposable, type TextDocument } from 'vscode';
import { messageOf } from '../../errors';
import { LANGUAGE } from '../contributions';
import type { Services } from '../services';

const JSON_SERVICE = 'vscode.json-language-features';

export function registerJsonService({ log }: Services): Disposable {
  const wake = ({ languageId }: TextDocument): void => {
    if (languageId !== LANGUAGE) return;
    extensions
      .getExtension(JSON_SERVICE)
      ?.activate()
      .then(undefined, (error: unknown) => log.warn(`${JSON_SERVICE}: ${messageOf(error)}`));
  };
  workspace.textDocuments.forEach(wake);
  return workspace.onDidOpenTextDocument(wake);
}
