// New Experiment: a template, a model, and the file is there, open, with its problems marked.
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { QuickPickItemKind, ThemeIcon, Uri, window, workspace, type QuickPickItem } from 'vscode';
import { UserError } from '../../errors';
import { atomicWriteFile } from '../../formats/atomic-file';
import { EXPERIMENT_SUFFIX } from '../contributions';
import { l10n } from '../l10n';
import type { Services } from '../services';
import { cachedModels } from './model-choices';
import { nextName } from './duplicate';
import { guessTexts, templates, templateText, type Template } from './templates';

export function registerNewExperiment({ context, register }: Services): void {
  context.subscriptions.push(
    register('lrqat.newExperiment', async () => {
      const folder = await targetFolder();
      if (folder === undefined) return;
      const template = await pickTemplate();
      if (template === undefined) return;
      const model = await pickModel(folder, l10n.t('New Experiment (2/3): Which Model?'));
      if (model === undefined) return;
      const file = await pickFile(folder, template);
      if (file === undefined) return;
      const { train, validation } = guessTexts(await readdir(folder).catch(() => []));
      await atomicWriteFile(file, templateText({ template, model: writtenPath(model, folder), train, validation }));
      await window.showTextDocument(Uri.file(file));
    }),
  );
}

async function targetFolder(): Promise<string | undefined> {
  const folders = workspace.workspaceFolders ?? [];
  if (folders.length === 0) {
    throw new UserError('NoFolder', l10n.t('Open a folder first: experiments and runs are kept in one'));
  }
  if (folders.length === 1) return folders[0]?.uri.fsPath;
  return (await window.showWorkspaceFolderPick())?.uri.fsPath;
}

async function pickTemplate(): Promise<Template | undefined> {
  const items = templates().map((template) => ({ label: template.label, detail: template.detail, template }));
  const title = l10n.t('New Experiment (1/3): How Small?');
  return (await window.showQuickPick(items, { title, matchOnDetail: true }))?.template;
}

interface ModelItem extends QuickPickItem {
  /** Absolute path or hub id; null: the user browses. */
  readonly model: string | null;
}

/** Absolute path or hub id. */
export async function pickModel(folder: string, title: string): Promise<string | undefined> {
  const configs = await workspace.findFiles('**/config.json', '**/{node_modules,.git,.lrqat}/**', 50);
  const local = configs
    .map(({ fsPath }) => path.dirname(fsPath))
    .filter((model) => existsSync(path.join(model, 'tokenizer.json')))
    .sort();
  const cached = await cachedModels();
  const heading = (label: string): ModelItem => ({ label, kind: QuickPickItemKind.Separator, model: null });
  const items: ModelItem[] = [
    ...(local.length === 0 ? [] : [heading(l10n.t('in this workspace'))]),
    ...local.map((model) => ({ label: workspace.asRelativePath(model), iconPath: new ThemeIcon('folder'), model })),
    ...(cached.length === 0 ? [] : [heading(l10n.t('in the Hugging Face cache'))]),
    ...cached.map((model) => ({ label: model, iconPath: new ThemeIcon('cloud'), model })),
    heading(''),
    {
      label: l10n.t('Browse …'),
      detail: l10n.t('A Hugging Face folder: config.json, *.safetensors, tokenizer.json'),
      iconPath: new ThemeIcon('folder-opened'),
      model: null,
    },
  ];
  const picked = await window.showQuickPick(items, { title });
  if (picked === undefined) return undefined;
  return picked.model ?? browse(folder);
}

async function browse(folder: string): Promise<string | undefined> {
  const picked = await window.showOpenDialog({
    title: l10n.t('Model Folder'),
    openLabel: l10n.t('Use This Model'),
    canSelectFiles: false,
    canSelectFolders: true,
    defaultUri: Uri.file(folder),
  });
  return picked?.[0]?.fsPath;
}

async function pickFile(folder: string, template: Template): Promise<string | undefined> {
  const fileOf = (name: string): string => path.join(folder, `${name}${EXPERIMENT_SUFFIX}`);
  const isTaken = (name: string): boolean => existsSync(fileOf(name));
  const name = await window.showInputBox({
    title: l10n.t('New Experiment (3/3): Its Name'),
    prompt: l10n.t('The file is made in {0}', path.basename(folder)),
    value: isTaken(template.name) ? nextName(template.name, isTaken) : template.name,
    validateInput: (value) => {
      const trimmed = value.trim();
      if (trimmed === '' || /[\\/:*?"<>|]/.test(trimmed))
        return l10n.t('A name that can be a file’s, such as w4-rank32');
      return isTaken(trimmed) ? l10n.t('{0} exists already', path.basename(fileOf(trimmed))) : undefined;
    },
  });
  return name === undefined ? undefined : fileOf(name.trim());
}

/** Inside the workspace relative to the experiment, so that the folder can move. */
export function writtenPath(file: string, folder: string): string {
  if (!path.isAbsolute(file)) return file;
  const relative = path.relative(folder, file);
  const isInside = !relative.startsWith('..') && !path.isAbsolute(relative);
  return isInside ? relative.split(path.sep).join('/') : file;
}
