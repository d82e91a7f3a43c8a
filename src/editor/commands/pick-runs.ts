// Which runs a command is about: those it was invoked on, or those the user picks from the ones it can be used on.
import { ThemeColor, ThemeIcon, window, type QuickPickItem } from 'vscode';
import { UserError } from '../../errors';
import type { ListedRun, RunEntry } from '../../runs';
import type { RunTarget } from '../contributions';
import { contextWords, iconOf, runDescription, runLabel, runTitle } from '../explorer/run-text';
import type { ExplorerElement } from '../explorer/tree-model';
import { l10n } from '../l10n';
import type { Services } from '../services';

export interface PickOptions {
  /** What a run must be (a word of contextWords). */
  readonly word?: string;
  /** What the command does, as in "Pause which run?". */
  readonly title: string;
  readonly many?: boolean;
}

interface RunItem extends QuickPickItem {
  readonly entry: RunEntry;
}

/** Empty when the user has picked none.
 *  @throws UserError NoSuchRun when there is none to pick from, RunNotFit when the given one is in another state */
export async function pickEntries(
  target: RunTarget,
  selection: readonly ExplorerElement[] | undefined,
  options: PickOptions,
  services: Services,
): Promise<readonly RunEntry[]> {
  const { runs } = services;
  const fits = (entry: RunEntry): boolean =>
    options.word === undefined || contextWords(entry).split(' ').includes(options.word);
  const given = await givenEntries(target, selection, services);
  if (given.length > 0) {
    const fitting = given.filter(fits);
    const [first] = given;
    if (fitting.length === 0 && first !== undefined) {
      const state = first.kind === 'run' ? first.state : 'unreadable';
      throw new UserError(
        'RunNotFit',
        l10n.t('{0} is {1}: {2} cannot be done now', runTitle(first), state, options.title),
      );
    }
    return fitting;
  }
  await runs.loaded;
  const candidates = runs.entries.filter((entry) => entry.kind === 'run' && fits(entry));
  candidates.sort((one, other) => (one.name < other.name ? 1 : -1));
  if (candidates.length === 0) {
    throw new UserError('NoSuchRun', l10n.t('{0}: there is no run for which this can be done', options.title));
  }
  const [only] = candidates;
  // Nothing to choose where only one run can be paused or stopped; for the rest a list also tells what will happen.
  if (candidates.length === 1 && only !== undefined && options.word !== undefined) return [only];
  const items = candidates.map(runItem);
  if (options.many === true) {
    const picked = await window.showQuickPick(items, {
      title: options.title,
      canPickMany: true,
      matchOnDescription: true,
      matchOnDetail: true,
    });
    return (picked ?? []).map(({ entry }) => entry);
  }
  const picked = await window.showQuickPick(items, {
    title: options.title,
    matchOnDescription: true,
    matchOnDetail: true,
  });
  return picked === undefined ? [] : [picked.entry];
}

/** {@link pickEntries} without folders that cannot be read. */
export async function pickRuns(
  target: RunTarget,
  selection: readonly ExplorerElement[] | undefined,
  options: PickOptions,
  services: Services,
): Promise<readonly ListedRun[]> {
  const entries = await pickEntries(target, selection, { word: 'run', ...options }, services);
  return entries.filter((entry) => entry.kind === 'run');
}

async function givenEntries(
  target: RunTarget,
  selection: readonly ExplorerElement[] | undefined,
  { runs }: Services,
): Promise<RunEntry[]> {
  if (typeof target === 'string' || isList(target)) {
    const wanted = typeof target === 'string' ? [target] : target;
    if (wanted.some((directory) => runs.get(directory) === undefined)) {
      await runs.loaded;
      await runs.reconcile();
    }
    return wanted.map((directory) => {
      const entry = runs.get(directory);
      if (entry !== undefined) return entry;
      throw new UserError('NoSuchRun', l10n.t('{0}: there is no such run (any more)', directory));
    });
  }
  if (target === undefined) return [];
  // An element that VS Code no longer knows comes as undefined.
  const known = (selection as readonly (ExplorerElement | undefined)[] | undefined)?.filter(
    (each) => each !== undefined,
  );
  const elements = known !== undefined && known.length > 0 ? known : [target];
  const directories = elements.flatMap(({ node }) => (node.type === 'run' ? [node.entry.directory] : []));
  return directories.flatMap((directory) => runs.get(directory) ?? []);
}

function isList(target: RunTarget): target is readonly string[] {
  return Array.isArray(target);
}

function runItem(entry: RunEntry): RunItem {
  const { id, color } = iconOf(entry);
  return {
    label: runTitle(entry),
    description: runDescription(entry),
    detail: runLabel(entry) === runTitle(entry) ? entry.name : runLabel(entry),
    iconPath: new ThemeIcon(id.replace('~spin', ''), color === undefined ? undefined : new ThemeColor(color)),
    entry,
  };
}
