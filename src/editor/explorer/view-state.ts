// How the user has arranged the explorer, remembered by the workspace.
import type { Memento } from 'vscode';
import { DEFAULT_TREE_OPTIONS, type TreeOptions } from './tree-model';

const KEY = 'lrqat.explorer.options';

export function loadOptions(memento: Memento): TreeOptions {
  const stored = memento.get<Partial<TreeOptions>>(KEY, {});
  return {
    sort: stored.sort === 'perplexity' ? 'perplexity' : DEFAULT_TREE_OPTIONS.sort,
    group: stored.group === 'state' || stored.group === 'none' ? stored.group : DEFAULT_TREE_OPTIONS.group,
    // A filter from yesterday would hide runs without a reason that anyone remembers.
    filter: '',
  };
}

export function saveOptions(memento: Memento, options: TreeOptions): Thenable<void> {
  return memento.update(KEY, { sort: options.sort, group: options.group });
}
