// From the text of an experiment to its form and back, in the same tab. With unsaved changes in a tab of its own: VS Code would ask
// whether to save before it gives up the old one, although nothing is lost.
import { commands, TabInputCustom, TabInputText, window, workspace, type Position, Range, type Uri } from 'vscode';
import { FORM_EDITOR } from '../contributions';

/** Shows the form of a file: in the place of its text where that is the active editor. */
export async function showForm(file: Uri): Promise<void> {
  const input = window.tabGroups.activeTabGroup.activeTab?.input;
  if (input instanceof TabInputText && isSame(input.uri, file) && !isDirty(file)) {
    await commands.executeCommand('reopenActiveEditorWith', FORM_EDITOR);
  } else {
    await commands.executeCommand('vscode.openWith', file, FORM_EDITOR);
  }
}

/** Shows the text of a file: in the place of its form where that is the active editor. */
export async function showText(file: Uri, at: Position | null): Promise<void> {
  const input = window.tabGroups.activeTabGroup.activeTab?.input;
  const isForm = input instanceof TabInputCustom && input.viewType === FORM_EDITOR && isSame(input.uri, file);
  if (isForm && !isDirty(file)) {
    await commands.executeCommand('reopenActiveEditorWith', 'default');
  }
  await window.showTextDocument(file, at === null ? {} : { selection: new Range(at, at) });
}

const isSame = (one: Uri, other: Uri): boolean => one.toString() === other.toString();

const isDirty = (file: Uri): boolean =>
  workspace.textDocuments.some(({ uri, isDirty }) => isDirty && isSame(uri, file));
