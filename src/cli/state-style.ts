// Colours of states; the word itself says the same without them.
import type { DerivedState } from '../runs';
import type { Style } from './terminal';

export const STATE_STYLE: Readonly<Partial<Record<DerivedState, Style>>> = {
  running: 'cyan',
  starting: 'cyan',
  paused: 'yellow',
  stopping: 'yellow',
  stale: 'yellow',
  finished: 'green',
  failed: 'red',
  crashed: 'red',
};
