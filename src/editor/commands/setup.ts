// Check Setup and Open Sample.
import { cp, mkdir } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import path from 'node:path';
import {
  commands,
  env,
  ProgressLocation,
  ThemeColor,
  ThemeIcon,
  Uri,
  window,
  workspace,
  type QuickPickItem,
} from 'vscode';
import { UserError } from '../../errors';
import { doctor, type Fact } from '../../launch/doctor';
import { SAMPLE_EXPERIMENT } from '../contributions';
import { l10n } from '../l10n';
import type { Services } from '../services';
import { requireTrust } from '../trust';

const SAMPLE = 'first-run';

export function registerSetup(services: Services): void {
  const { context, register, walkthrough } = services;
  context.subscriptions.push(
    register('lrqat.checkSetup', () => checkSetup(services)),
    register('lrqat.openWalkthrough', () => walkthrough.open()),
    register('lrqat.openSample', () => openSample(services)),
  );
}

const ICONS = {
  ok: new ThemeIcon('pass', new ThemeColor('testing.iconPassed')),
  warning: new ThemeIcon('warning', new ThemeColor('list.warningForeground')),
  error: new ThemeIcon('error', new ThemeColor('testing.iconFailed')),
};

async function checkSetup({ engine, log }: Services): Promise<void> {
  requireTrust(l10n.t('Checking the machine'));
  // Asked because something may have been installed since.
  engine.forget();
  const folder = workspace.workspaceFolders?.[0]?.uri.fsPath;
  const facts = await window.withProgress(
    { location: ProgressLocation.Window, title: l10n.t('Checking this machine …') },
    () =>
      doctor({
        nodePath: engine.nodePath(),
        environment: engine.environment(),
        ...(folder === undefined ? {} : { folder }),
      }),
  );
  for (const fact of facts) log.info(factLine(fact));
  const items: QuickPickItem[] = facts.map(({ name, ok, value, hint }) => ({
    label: name,
    description: value,
    iconPath: ICONS[ok],
    ...(hint === null ? {} : { detail: hint }),
  }));
  const errors = facts.filter(({ ok }) => ok === 'error').length;
  const title = errors === 0 ? l10n.t('This machine can train') : l10n.t('Something is missing for training');
  const picked = await window.showQuickPick(items, {
    title,
    placeHolder: l10n.t('Select a line to copy the report'),
    matchOnDescription: true,
  });
  if (picked === undefined) return;
  await env.clipboard.writeText(facts.map(factLine).join('\n'));
  window.setStatusBarMessage(l10n.t('$(check) Report copied'), 2_000);
}

function factLine({ name, ok, value, hint }: Fact): string {
  return `${ok === 'ok' ? 'ok     ' : ok.padEnd(7)}  ${name}: ${value}${hint === null ? '' : `  (${hint})`}`;
}

/** Copies the sample to where the user wants it: the install folder is replaced at every update. */
async function openSample({ context, walkthrough }: Services): Promise<void> {
  const source = path.join(context.extensionPath, 'samples', SAMPLE);
  if (!existsSync(source))
    throw new UserError('NoSample', l10n.t('{0}: the sample is missing from this installation', source));
  const picked = await window.showOpenDialog({
    title: l10n.t('Folder for the Sample'),
    openLabel: l10n.t('Copy the Sample Here'),
    canSelectFiles: false,
    canSelectFolders: true,
    canSelectMany: false,
    ...(workspace.workspaceFolders?.[0] === undefined ? {} : { defaultUri: workspace.workspaceFolders[0].uri }),
  });
  const parent = picked?.[0]?.fsPath;
  if (parent === undefined) return;
  const target = freeName(path.join(parent, 'lrqat-sample'));
  await mkdir(target, { recursive: true });
  await cp(source, target, { recursive: true, filter: (file) => path.basename(file) !== '.lrqat' });
  const copy = Uri.file(target);
  if (workspace.getWorkspaceFolder(copy) !== undefined) {
    walkthrough.happened('sample');
    await window.showTextDocument(Uri.joinPath(copy, SAMPLE_EXPERIMENT));
    return;
  }
  await walkthrough.guideThrough(copy);
  await commands.executeCommand('vscode.openFolder', copy, { forceNewWindow: false });
}

function freeName(wanted: string): string {
  for (let number = 2, name = wanted; ; number++) {
    if (!existsSync(name)) return name;
    name = `${wanted}-${String(number)}`;
  }
}
