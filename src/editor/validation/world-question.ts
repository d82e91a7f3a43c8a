// What is asked about an experiment file, by the line above it, its problems and the start of its runs alike: what they say of memory
// and time must be the same.
import { workspace, type TextDocument } from 'vscode';
import { runsFolderFor } from '../../runs';
import type { Services } from '../services';
import { runsFolderSetting } from '../settings';
import { earlierRunOf } from './earlier-run';
import type { WorldQuestion } from './world-protocol';

export async function questionAbout(
  document: TextDocument,
  { engine, rates, runs }: Services,
): Promise<Omit<WorldQuestion, 'id' | 'type'>> {
  const { uri } = document;
  const file = uri.fsPath;
  const probe = await engine.probeIfTrusted();
  return {
    file,
    text: document.getText(),
    workspaceFolder: workspace.getWorkspaceFolder(uri)?.uri.fsPath ?? null,
    runsFolder: runsFolderFor(file, runsFolderSetting(uri)),
    probe,
    rates: rates.current(),
    earlier: earlierRunOf(file, runs.entries),
  };
}
