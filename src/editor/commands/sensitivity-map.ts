// The heat map of Measure Sensitivity as a tab: the page that `lrqat sensitivity --report` writes, in the colours of the theme.
import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { tasks, ViewColumn, window, type ExtensionContext, type TaskExecution } from 'vscode';
import { l10n } from '../l10n';
import { themed } from './sensitivity-page';

/** Where a report of an experiment is written; the last one of a name is kept. */
export async function reportFile({ globalStorageUri }: ExtensionContext, name: string): Promise<string> {
  const folder = path.join(globalStorageUri.fsPath, 'sensitivity');
  await mkdir(folder, { recursive: true });
  return path.join(folder, `${name}.html`);
}

/** Shows the report once the measurement has ended well. */
export function showWhenDone(execution: TaskExecution, name: string, file: string): void {
  const subscription = tasks.onDidEndTaskProcess((end) => {
    if (end.execution !== execution) return;
    subscription.dispose();
    if (end.exitCode === 0) void show(name, file);
  });
}

async function show(name: string, file: string): Promise<void> {
  const page = await readFile(file, 'utf8').catch(() => null);
  if (page === null) return;
  const panel = window.createWebviewPanel('lrqat.sensitivity', l10n.t('Sensitivity of {0}', name), ViewColumn.Active, {
    enableScripts: false,
    localResourceRoots: [],
    enableFindWidget: true,
  });
  panel.webview.html = themed(page, randomBytes(16).toString('base64url'));
}
