// Every text of the panel, in one place. The keys of translations are the English texts (shared/strings.ts).
import { t } from '../shared/strings';
import type { CopyFormat } from './protocol';

export const text = {
  panelLabel: () => t('Compare runs'),
  heading: (shown: number, all: number) =>
    shown === all ? (all === 1 ? t('1 run') : t('{0} runs', all)) : t('{0} of {1} runs', shown, all),
  optionsLabel: () => t('Options'),

  // Options
  runsAs: () => t('Runs as'),
  columns: () => t('Columns'),
  rows: () => t('Rows'),
  filter: () => t('Filter runs'),
  filterTitle: () => t('Words of name, tags or state; bits=2, rank>=16, perplexity<60, state!=failed'),
  search: () => t('Find settings and metrics'),
  hideIdentical: () => t('Hide identical'),
  hideIdenticalTitle: () => t('Hide settings that are the same in all runs'),
  addRun: () => t('Add Run…'),
  charts: () => t('Overlay Charts'),
  chartsTitle: () => t('Overlay Charts: live charts of the runs shown'),
  copyAs: () => t('Copy as'),
  copyTitle: (name: string) => t('Copy the tables as {0}', name),
  report: () => t('Save Report…'),
  reportTitle: () => t('Save Report: tables, picture and loss curves as one HTML file'),

  // Table
  tableLabel: () => t('Runs and what they differ in'),
  run: () => t('Run'),
  metrics: () => t('Metrics'),
  different: () => t('Settings that differ'),
  identical: (count: number) =>
    count === 1 ? t('1 setting that is the same in all runs') : t('{0} settings that are the same in all runs', count),
  metric: () => t('metric'),
  noDifference: () => t('No setting differs.'),
  baseline: () => t('Baseline'),
  setBaseline: (name: string) => t('Measure others against {0}', name),
  pin: (name: string) => t('Pin {0} at the front', name),
  unpin: (name: string) => t('Unpin {0}', name),
  remove: (name: string) => t('Take {0} out of this comparison', name),
  sortBy: (name: string) => t('Sort runs by {0}', name),
  best: () => t('best'),
  better: () => t('better'),
  worse: () => t('worse'),
  unreadable: () => t('Unreadable'),
  percentDone: (percent: number) => t('{0}%', percent),

  // Picture
  picture: () => t('Perplexity against cost'),
  cost: () => t('Against'),
  log: () => t('Log'),
  logTitle: () => t('Logarithmic axes'),
  showPicture: () => t('Show Picture'),
  asTable: () => t('Perplexity against cost: show as table'),
  pictureRole: () => t('chart'),
  pictureHelp: () => t('Arrow keys: from point to point. Home, End: first and last. Escape: none.'),
  onFront: () => t('on the front'),
  dominated: () => t('off the front'),
  front: () => t('Front'),
  yes: () => t('yes'),
  no: () => t('no'),
  perplexity: () => t('perplexity'),
  notDrawn: (count: number) =>
    count === 1
      ? t('1 run is not drawn: it has no perplexity or no size yet.')
      : t('{0} runs are not drawn: they have no perplexity or no size yet.', count),
  nothingToDraw: () => t('No run has both perplexity and size yet. A run has them when it is finished.'),
  incomparable: () =>
    t(
      'The float perplexities differ: these runs were measured on different models or texts, and their perplexities cannot be compared.',
    ),
  noMemoryOfReferences: () => t('Float and round-to-nearest need no training, so they are lines here.'),

  // Empty states
  noRunTitle: () => t('No run to compare'),
  noRunText: () => t('Add runs to see side by side what they differ in and what that has done.'),
  nothingFits: () => t('No run fits the filter.'),
} as const;

export function formatName(format: CopyFormat): string {
  switch (format) {
    case 'markdown':
      return 'Markdown';
    case 'latex':
      return 'LaTeX';
    case 'csv':
      return 'CSV';
  }
}
