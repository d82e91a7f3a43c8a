// Every text of the panel, in one place. The keys of translations are the English texts (shared/strings.ts).
import { t } from '../shared/strings';
import type { PanelState, XAxis } from './protocol';

export const text = {
  panelLabel: () => t('Live charts'),
  runsLabel: () => t('Runs'),
  optionsLabel: () => t('Options'),

  // Header
  pause: () => t('Pause'),
  pausing: () => t('Pausing…'),
  resume: () => t('Resume'),
  resuming: () => t('Resuming…'),
  stop: () => t('Stop…'),
  stopping: () => t('Stopping…'),
  checkpoint: () => t('Checkpoint Now'),
  checkpointing: () => t('Writing a checkpoint…'),
  stepOf: (step: string, total: string) => t('Step {0} of {1}', step, total),
  progressLabel: (name: string) => t('Progress of {0}', name),
  timeLeft: (duration: string) => t('{0} left', duration),
  attempt: (number: number) => t('Attempt {0}', number),
  factLoss: () => t('Loss'),
  factPerplexity: () => t('Best perplexity'),
  factGap: () => t('Gap closed'),
  factSpeed: () => t('Speed'),
  factMemory: () => t('Memory'),
  factDevice: () => t('Device'),
  factTime: () => t('Time at work'),
  gapExplained: () =>
    t('Share of the perplexity lost by rounding to nearest that training has won back, on the way to float'),

  // Options
  xAxis: () => t('X axis'),
  logX: () => t('Logarithmic x'),
  logXTitle: () => t('Logarithmic x axis, for all charts'),
  smoothing: () => t('Smoothing'),
  smoothingTitle: () => t('Weight of the past in the exponential moving average'),
  follow: () => t('Follow'),
  followTitle: () => t('Keep the newest point in view while zoomed'),
  resetZoom: () => t('Reset Zoom'),
  exportAll: () => t('Export CSV'),
  exportAllTitle: () => t('Export CSV: all series of all shown runs'),
  addRun: () => t('Add Run…'),
  compare: () => t('Compare'),
  compareTitle: () => t('Compare: these runs side by side'),
  removeRun: (name: string) => t('Take {0} out of these charts', name),
  hideRun: (name: string) => t('Hide {0}', name),
  showRun: (name: string) => t('Show {0}', name),
  focusRun: (name: string) => t('Show {0} in the header', name),
  kind: () => t('Evaluation'),
  heatQuantity: () => t('Show'),

  // Charts
  loss: () => t('Loss'),
  lossParts: () => t('Loss by part'),
  crossEntropy: () => t('cross-entropy'),
  divergence: () => t('divergence from float'),
  perplexity: () => t('Perplexity'),
  learningRate: () => t('Learning rates'),
  gradientNorm: () => t('Gradient norm'),
  tokensPerSecond: () => t('Speed'),
  memory: () => t('Memory'),
  layers: () => t('Layers'),
  gpuUtilization: () => t('GPU utilization'),
  gpuPower: () => t('GPU power'),
  gpuTemperature: () => t('GPU temperature'),
  gpuMemory: () => t('GPU memory'),
  gpuUnit: () => t('all processes'),
  natsPerToken: () => t('nats a token'),
  gradientNormUnit: () => t('unclipped'),
  smoothed: () => t('smoothed'),
  raw: () => t('as measured'),
  lowRank: () => t('A, B'),
  scales: () => t('scales s'),
  zeroPoints: () => t('zero points'),
  weights: () => t('weights'),
  norms: () => t('norms'),
  head: () => t('head'),
  embeddings: () => t('embeddings'),
  activations: () => t('activations'),
  engine: () => t('engine'),
  resident: () => t('process'),
  float: () => t('float'),
  roundToNearest: () => t('round-to-nearest'),
  trained: () => t('trained'),
  merged: () => t('merged'),
  resumed: () => t('resumed'),
  skippedStep: () => t('step skipped: loss or gradient not finite'),
  notOnLogAxis: (count: string) => t('{0} values of 0 or less cannot be shown on a logarithmic axis', count),
  oneNotOnLogAxis: () => t('1 value of 0 or less cannot be shown on a logarithmic axis'),
  logY: (chart: string) => t('{0}: log y axis', chart),
  table: (chart: string) => t('{0}: show as table', chart),
  png: (chart: string) => t('{0}: save as PNG', chart),
  csv: (chart: string) => t('{0}: save as CSV', chart),
  logShort: () => t('log'),
  chartHelp: () =>
    t(
      'Left and right arrow: move along the points. Shift with arrows: pan. Plus and minus: zoom. 0 or double click: show all. Drag: zoom to a box. Shift and drag: pan.',
    ),
  chartSummary: (chart: string, summary: string) => t('{0} chart. {1}', chart, summary),
  nothingYet: () => t('no values yet'),
  latest: (run: string, value: string, step: string) => t('{0}: {1} at step {2}', run, value, step),
  outsideView: () => t('No values in this range. Press 0 or double-click to show all.'),
  heatLow: () => t('0'),
  heatNote: (steps: string) => t('measured at each evaluation, last at step {0}', steps),
  heatZero: () => t('all zero: no entry lies outside of the grid'),

  atStep: (step: string) => t('step {0}', step),
  tokenCount: (count: string) => t('{0} tokens', count),
  chartRole: () => t('chart'),
  speedUnit: () => t('tok/s'),

  // Empty states
  waitForEvaluation: () => t('No evaluation yet. The first one measures float and round-to-nearest, before step 1.'),
  waitForLayers: () => t('Layers are measured at each evaluation during training. None has been yet.'),
  waitForSteps: () => t('No step yet.'),
  trainsNothing: () => t('This run only rounds: it has no steps.'),
  noSteps: () => t('no steps'),
  noRunTitle: () => t('No run is shown'),
  noRunText: () => t('Add a run to see its curves, or start a training: it appears here as it goes.'),
  allHidden: () => t('All runs are hidden. Show one in the list above.'),

  // Table
  tableRun: () => t('Run'),
  tableStep: () => t('Step'),
  tableTokens: () => t('Tokens'),
  tableTime: () => t('Time'),
  tableKind: () => t('Weights'),
  tableLinear: () => t('Linear'),
  tableCaption: (chart: string, shown: string, total: string) =>
    shown === total
      ? t('{0}: {1} rows', chart, shown)
      : t(
          '{0}: {1} of {2} rows in view, evenly picked. Zoom in to see all of a range, or save as CSV.',
          chart,
          shown,
          total,
        ),

  // Export
  saved: (name: string) => t('Saved {0}', name),
  saveFailed: (reason: string) => t('Could not save: {0}', reason),

  // States with advice
  openLog: () => t('Show Log'),
  openFolder: () => t('Reveal Run Folder'),
  openExperiment: () => t('Open Experiment'),
  queuedTitle: () => t('Waiting in the queue'),
  queuedText: () => t('The run starts as soon as a slot is free.'),
  startingTitle: () => t('Starting'),
  startingText: () => t('The trainer loads the model and the data and measures the starting point.'),
  loadingTitle: () => t('Reading the run'),
  loadingText: (share: string) => t('{0} of the metrics file read.', share),
  pausedTitle: () => t('Paused'),
  pausedText: () => t('The trainer waits with everything in memory. Resume goes on at once.'),
  stoppedTitle: () => t('Stopped'),
  stoppedText: (step: string) => t('Resume goes on from the checkpoint of step {0}.', step),
  stoppedNoCheckpoint: () => t('There is no checkpoint: Resume starts from the beginning.'),
  failedTitle: () => t('The training failed'),
  crashedTitle: () => t('The trainer is gone'),
  crashedText: () =>
    t('Its process ended without a word: killed, out of memory, or the machine went down. The log may say more.'),
  crashedCheckpoint: (step: string) => t('Resume goes on from the checkpoint of step {0}, bit for bit.', step),
  staleTitle: () => t('No sign of life'),
  staleText: (since: string) =>
    t(
      'The trainer runs on another machine and was last heard of {0} ago. It may come back; if that machine is gone, Resume takes the run over.',
      since,
    ),
  problemTitle: () => t('The run cannot be read'),
} as const;

export function axisName(axis: XAxis): string {
  switch (axis) {
    case 'step':
      return t('Step');
    case 'tokens':
      return t('Tokens');
    case 'time':
      return t('Time');
  }
}

export function heatName(quantity: PanelState['heat']): string {
  switch (quantity) {
    case 'clippedShare':
      return t('Entries outside the grid');
    case 'flippedShare':
      return t('Integers changed');
    case 'scaleDrift':
      return t('Scale drift');
  }
}
