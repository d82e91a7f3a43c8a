// The options of a panel that has none yet, and small changes of lists in them. Pure.
import type { PanelState } from './protocol';

export const FRESH: PanelState = {
  version: '1',
  runs: [],
  x: 'step',
  logX: false,
  logY: [],
  smoothing: 0.9,
  follow: true,
  focus: null,
  kind: null,
  hidden: [],
  tables: [],
  heat: 'flippedShare',
  zoom: null,
};

export function toggled(items: readonly string[], item: string): string[] {
  return items.includes(item) ? without(items, item) : [...items, item];
}

export function included(items: readonly string[], item: string, wanted: boolean): string[] {
  return items.includes(item) === wanted ? [...items] : toggled(items, item);
}

export function without(items: readonly string[], item: string): string[] {
  return items.filter((each) => each !== item);
}
