// A rule of the experiment file and what it finds.

import type { KeyPath } from './problem';
import type { Experiment } from './schema';

/** What a rule found; the caller adds the place. */
export interface Finding {
  readonly path: KeyPath;
  readonly message: string;
  readonly hint?: string;
  readonly severity?: 'error' | 'warning';
  readonly value?: unknown;
  /** Key paths it depends on beside its own. */
  readonly reads?: readonly string[];
  /** Say it only of a value that is in the file, not of a default. */
  readonly onlyWhenWritten?: boolean;
  /** Values that would make it right, best first; offered as fixes. */
  readonly replacements?: readonly unknown[];
}

export interface Rule {
  /** Key paths the rule looks at, e.g. `training.batchSize`; a section stands for all in it. */
  readonly reads: readonly string[];
  readonly check: (experiment: Experiment) => Iterable<Finding>;
}
