// From the text of an experiment to its form and back, in the same tab.
import { commands, TabInputCustom, TabInputText, window, type Position, Range, type Uri } from 'vscode';
import { FORM_EDITOR } from '../contributions';

/** Shows the form of a file: in the place of its text where that is the active editor. */
export async function showForm(file: Uri): Promise<void> {
  const input = window.tabGroups.activeTabGroup.activeTab?.input;
  if (input instanceof TabInputText && isSame(input.uri, file)) {
    await commands.executeCommand('reopenActiveEditorWith', FORM_EDITOR);
  } else {
    await commands.executeCommand('vscode.openWith', file, FORM_EDITOR);
  }
}

/** Shows the text of a file: in the place of its form where that is the active editor. */
export async function showText(file: Uri, at: Position | null): Promise<void> {
  const input = window.tabGroups.activeTabGroup.activeTab?.input;
  if (input instanceof TabInputCustom && input.viewType === FORM_EDITOR && isSame(input.uri, file)) {
    await commands.executeCommand('reopenActiveEditorWith', 'default');
  }
  await window.showTextDocument(file, at === null ? {} : { selection: new Range(at, at) });
}

const isSame = (one: Uri, other: Uri): boolean => one.toString() === other.toString();
