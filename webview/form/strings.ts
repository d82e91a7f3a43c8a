// Every text of the form, in one place. What the schema says of a key (help, hints) is English like the file's keys.
import { t } from '../shared/strings';
import type { GroupId } from './fields';

export const text = {
  formLabel: () => t('Experiment'),
  showText: () => t('Show Text'),
  startTraining: () => t('Start Training'),
  advanced: (count: number) => t('{0} more settings', count),
  reset: (field: string) => t('{0}: back to the default, out of the file', field),
  resetShort: () => t('Reset'),
  inFile: () => t('set in the file'),
  defaultIs: (value: string) => t('Default: {0}', value),
  required: () => t('Required'),
  takes: (allowed: string) => t('Takes {0}.', allowed),
  notThis: (value: string, allowed: string) => t('{0} is not {1}', value, allowed),
  useNumber: () => t('a number'),
  noLimit: () => t('none'),
  automatic: () => t('auto'),
  groupSize: () => t('Weights in a group'),
  byGroup: () => t('per group'),
  notQuantized: () => t('not quantized'),
  customActivations: () => t('custom'),
  browse: () => t('Browse…'),
  pickModel: () => t('Choose Model…'),
  addFiles: () => t('Add Files…'),
  addPath: () => t('Add a path or pattern'),
  removeItem: (item: string) => t('Remove {0}', item),
  noFiles: () => t('none'),
  editInText: () => t('Edit in Text'),
  ifNull: (field: string) => t('{0}: automatic', field),

  // Layers
  layersEmpty: () => t('All linears are treated alike.'),
  addLayer: () => t('Add Exception'),
  layerTitle: (number: number) => t('Exception {0}', number),
  removeLayer: (match: string) => t('Remove the exception for {0}', match),
  layerAdd: () => t('Add a setting'),
  layerWithout: () => t('Without it: as everywhere else.'),
  layerMatches: (count: number) => (count === 1 ? t('matches 1 linear') : t('matches {0} linears', count)),

  // Broken text
  brokenTitle: () => t('The text cannot be read'),
  brokenText: (message: string, line: number, column: number) => t('Line {1}, column {2}: {0}', message, line, column),
  brokenHint: () => t('Settings are shown as they last were and can be changed again once the text is mended.'),
  goThere: () => t('Go There'),
  fileProblems: () => t('Of the file'),

  // Live panel
  needs: () => t('What it needs'),
  summary: (memory: string, bits: string, time: string) =>
    [memory, t('{0} bits a weight', bits), time].filter((part) => part !== '').join(' · '),
  waiting: () => t('The model is being read…'),
  noModel: () => t('Memory, size and time are shown once the model can be read.'),
  cannotPlan: () => t('With these settings nothing can be said about memory and time.'),
  memory: () => t('Memory'),
  memoryOf: (total: string, limit: string) => t('{0} of {1}', total, limit),
  fits: () => t('fits'),
  tooMuch: (over: string) => t('{0} too much', over),
  memoryLabel: (total: string, limit: string, verdict: string) =>
    t('Memory of the engine: {0} of {1}, {2}', total, limit, verdict),
  longEvaluation: (length: string, total: string) => t('Evaluating blocks of {0} tokens needs {1}.', length, total),
  startNeeds: (total: string) => t('Finding the start needs {0} on the CPU.', total),
  part: () => t('Part'),
  bytes: () => t('Bytes'),
  linearsSize: () => t('Quantized linears'),
  sizeFrom: (factor: string, before: string) => t('{0} × smaller than {1} in bf16', factor, before),
  bitsPerWeight: () => t('Bits a weight'),
  withScales: () => t('scales included'),
  trained: () => t('Trained numbers'),
  time: () => t('Training'),
  perStep: (seconds: string, speed: string) => t('{0} a step, {1} tokens/s', seconds, speed),
  guessed: () => t('guessed from the processor'),
  measured: () => t('from speeds measured here'),
  noTraining: () => t('no training'),
  helps: () => t('What would help'),
  use: () => t('Use'),
  suggestion: (title: string, total: string, fits: boolean) =>
    fits ? t('{0}: {1}, fits', title, total) : t('{0}: {1}, still too much', title, total),
  useSuggestion: (title: string) => t('Use {0}', title),

  // Weight grid
  grid: () => t('Weights on their grid'),
  linear: () => t('Linear'),
  keptFloat: () => t('This linear is kept in float.'),
  readingWeights: () => t('Reading weights…'),
  gridSummary: (levels: string, error: string, zero: string, clipped: string) =>
    t(
      '{0} levels; error {1} of the weights’ size; {2} become 0; {3} lie outside the grid',
      levels,
      error,
      zero,
      clipped,
    ),
  gridSample: (count: string, rows: string) =>
    t('{0} weights of {1} rows of the checkpoint, before training', count, rows),
  gridLegendWeights: () => t('weights'),
  gridLegendError: () => t('rounding error'),
  gridLegendLevels: () => t('levels'),
  gridTable: () => t('Weights and mean rounding error by position'),
  gridFrom: () => t('From'),
  gridTo: () => t('To'),
  gridCount: () => t('Weights'),
  gridError: () => t('Mean error'),
  gridUnit: () => t('Positions and errors in units of the grid’s reach, s · 2^(bits−1).'),
  asTable: () => t('As a table'),

  // Recipe
  recipe: () => t('Against the paper’s recipe'),
  recipeSame: () => t('Every setting is one of the paper’s.'),
  recipeCount: (count: number) => (count === 1 ? t('1 setting differs') : t('{0} settings differ', count)),
  recipeSource: () => t('LR-QAT, arXiv 2406.06385, and the training commands published with its code.'),
  recipePaper: (value: string) => t('paper: {0}', value),
  recipeUse: (field: string, value: string) => t('{0}: use the paper’s {1}', field, value),
} as const;

export function groupTitle(group: GroupId): string {
  switch (group) {
    case 'model':
      return t('Model and data');
    case 'quantization':
      return t('Quantization');
    case 'lowRank':
      return t('Low rank');
    case 'training':
      return t('Training');
    case 'evaluation':
      return t('Evaluation');
    case 'checkpoint':
      return t('Checkpoints');
    case 'engine':
      return t('Engine');
    case 'other':
      return t('Other');
  }
}

/** Titles of the keys; a key of a later schema shows as it is written. */
const TITLES: Readonly<Record<string, () => string>> = {
  name: () => t('Name'),
  'model.path': () => t('Model'),
  'data.train': () => t('Training text'),
  'data.validation': () => t('Validation text'),
  'data.field': () => t('Field of the text'),
  'data.sequenceLength': () => t('Sequence length'),
  'data.packing': () => t('Packing'),
  'quantization.method': () => t('Method'),
  'quantization.weights.bits': () => t('Bits'),
  'quantization.weights.granularity': () => t('Granularity'),
  'quantization.weights.range': () => t('Range'),
  'quantization.weights.scaleDomain': () => t('Scale domain'),
  'quantization.weights.scaleFormat': () => t('Scale format'),
  'quantization.weights.symmetric': () => t('Symmetric'),
  'quantization.activations': () => t('Activations'),
  'quantization.activations.bits': () => t('Bits'),
  'quantization.activations.kvBits': () => t('Bits of keys and values'),
  'quantization.activations.normOutputs': () => t('Outputs of norms'),
  'quantization.activations.sites': () => t('Other tensors'),
  'quantization.activations.zeroPoint': () => t('Zero point'),
  'quantization.activations.range': () => t('Range'),
  'quantization.activations.sequences': () => t('Calibration sequences'),
  'quantization.activations.symmetric': () => t('Symmetric'),
  'quantization.activations.learn': () => t('Learn ranges'),
  'quantization.activations.learningRate': () => t('Learning rate of the ranges'),
  'quantization.activations.gradientScaling': () => t('Gradient scaling'),
  'quantization.storage': () => t('Storage'),
  'quantization.fractionBits': () => t('Fraction bits'),
  'quantization.encoding': () => t('Encoding'),
  'quantization.start.integers': () => t('Starting integers'),
  'quantization.start.lowRank': () => t('Start of A and B'),
  'quantization.start.iterations': () => t('Iterations of the start'),
  'quantization.gptq.sequences': () => t('Calibration sequences'),
  'quantization.gptq.damping': () => t('Damping'),
  'quantization.gptq.activationOrder': () => t('Activation order'),
  'quantization.lowRank.rank': () => t('Rank'),
  'quantization.lowRank.alpha': () => t('Alpha'),
  'quantization.lsq.gradientScaling': () => t('Gradient scaling'),
  'quantization.learnScales': () => t('Learn scales'),
  'quantization.learnZeroPoints': () => t('Learn zero points'),
  'quantization.layers': () => t('Exceptions by layer'),
  'training.steps': () => t('Steps'),
  'training.batchSize': () => t('Batch size'),
  'training.microBatchSize': () => t('Micro-batch size'),
  'training.learningRate.lowRank': () => t('Learning rate of A and B'),
  'training.learningRate.scales': () => t('Learning rate of the scales'),
  'training.learningRate.zeroPoints': () => t('Learning rate of the zero points'),
  'training.learningRate.weights': () => t('Learning rate of the weights'),
  'training.learningRate.norms': () => t('Learning rate of the norms'),
  'training.learningRate.head': () => t('Learning rate of the head'),
  'training.learningRate.embeddings': () => t('Learning rate of the embeddings'),
  'training.schedule': () => t('Schedule'),
  'training.warmupRatio': () => t('Warm-up'),
  'training.finalLearningRateRatio': () => t('Final learning rate'),
  'training.beta1': () => t('Beta 1'),
  'training.beta2': () => t('Beta 2'),
  'training.epsilon': () => t('Epsilon'),
  'training.weightDecay': () => t('Weight decay'),
  'training.gradientClip': () => t('Gradient clip'),
  'training.seed': () => t('Seed'),
  'training.distillation.weight': () => t('Distillation'),
  'training.distillation.topK': () => t('Tokens of the float model'),
  'training.distillation.temperature': () => t('Temperature'),
  'training.activationCheckpointing': () => t('Activation checkpointing'),
  'evaluation.everySteps': () => t('Evaluate every'),
  'evaluation.maxBatches': () => t('Batches measured'),
  'evaluation.kinds': () => t('Kinds'),
  'evaluation.wikitext.files': () => t('WikiText files'),
  'evaluation.wikitext.sequenceLength': () => t('WikiText block length'),
  'checkpoint.everySteps': () => t('Save every'),
  'checkpoint.keep': () => t('Checkpoints kept'),
  device: () => t('Device'),
  compute: () => t('Compute type'),
  offload: () => t('Offload'),
  threads: () => t('Threads'),
  memoryLimit: () => t('Memory limit'),
  sweep: () => t('Sweep'),
  match: () => t('Linears'),
  skip: () => t('Keep in float'),
  bits: () => t('Bits'),
  granularity: () => t('Granularity'),
  range: () => t('Range'),
  scaleDomain: () => t('Scale domain'),
  scaleFormat: () => t('Scale format'),
  symmetric: () => t('Symmetric'),
  storage: () => t('Storage'),
  fractionBits: () => t('Fraction bits'),
  encoding: () => t('Encoding'),
  rank: () => t('Rank'),
  alpha: () => t('Alpha'),
  learnScales: () => t('Learn scales'),
  learnZeroPoints: () => t('Learn zero points'),
};

export function titleOf(id: string): string {
  return TITLES[id]?.() ?? id;
}

export const titled: ReadonlySet<string> = new Set(Object.keys(TITLES));

/** Parts of the engine's memory, in the order in which the bar shows them. */
export const PARTS = [
  'quantizedWeights',
  'embeddings',
  'activations',
  'workspace',
  'parameters',
  'gradients',
  'optimizer',
  'host',
] as const;
export type Part = (typeof PARTS)[number];

export function partName(part: Part): string {
  switch (part) {
    case 'quantizedWeights':
      return t('Frozen weights');
    case 'embeddings':
      return t('Embedding, head, norms');
    case 'activations':
      return t('Activations');
    case 'workspace':
      return t('Workspace');
    case 'parameters':
      return t('A, B and scales');
    case 'gradients':
      return t('Gradients');
    case 'optimizer':
      return t('Optimiser moments');
    case 'host':
      return t('In host memory');
  }
}
