// Every text of the form, in one place. What the schema says of a key (help, hints) is English like the file's keys.
import { t } from '../shared/strings';
import type { GroupId } from './fields';

export const text = {
  formLabel: () => t('Experiment'),
  showText: () => t('Show Text'),
  startTraining: () => t('Start Training'),
  advanced: (count: number) => (count === 1 ? t('1 more setting') : t('{0} more settings', count)),
  reset: (field: string) => t('{0}: back to the default, out of the file', field),
  inFile: () => t('set in the file'),
  defaultIs: (value: string) => t('Default: {0}', value),
  required: () => t('Required'),
  notThis: (value: string, allowed: string) => t('{0} is not {1}', value, allowed),
  groupSize: () => t('Weights in a group'),
  byGroup: () => t('per group'),
  notQuantized: () => t('not quantized'),
  customActivations: () => t('custom'),
  pickModel: () => t('Choose Model…'),
  addFiles: () => t('Add Files…'),
  addPath: () => t('Add a path or pattern'),
  removeItem: (item: string) => t('Remove {0}', item),
  noFiles: () => t('none'),
  editInText: () => t('Edit in Text'),

  // What has no effect
  trainsNothing: (method: string) => t('Method “{0}” trains nothing.', method),
  trainsWeights: (method: string) => t('Method “{0}” trains the weights themselves, in float32.', method),
  trainsScales: (method: string) => t('Method “{0}” keeps the integers and trains the scales alone.', method),
  startsFromCheckpoint: (method: string) => t('Method “{0}” starts from the checkpoint’s weights.', method),
  findsIntegers: (method: string) => t('Method “{0}” finds the integers itself.', method),
  onlyRounds: (method: string) => t('Method “{0}” only rounds to nearest.', method),
  rankZero: () => t('With rank 0 there is no low-rank term.'),
  scalesStay: () => t('The scales are not trained.'),
  noZeroPoints: () => t('Symmetric weights have no zero points.'),
  zeroPointsStay: () => t('The zero points are not trained.'),
  notFixedPoint: (storage: string) => t('Storage “{0}” has no fraction bits.', storage),
  onlyWithSvd: () => t('Only where A and B start from singular values.'),
  onlyWithGptq: () => t('Only where GPTQ rounds.'),
  onlyWithLsq: () => t('Only of method “lsq”.'),
  tiedHead: () => t('The head of this model is its embedding table, and is trained with it.'),
  noDistillation: () => t('Training does not follow the float model.'),
  constantRate: () => t('A constant schedule stays at the peak.'),
  noWikitext: () => t('WikiText is not measured.'),
  notStatic: () => t('Only of static ranges.'),
  rangesStay: () => t('The ranges are not trained.'),
  staticIntegers: () => t('The zero points of static ranges are integers.'),
  noCacheSites: () => t('Neither keys nor values are quantized.'),
  noEffect: (reason: string) => t('No effect: {0}', reason),
  leftOut: (settings: string, reason: string) => t('Not shown: {0}. {1}', settings, reason),
  manySettings: (count: number) => t('{0} settings', count),

  // Switches and activations
  switchedNumber: (id: string): { readonly label: string; readonly unit: string } =>
    id === 'training.distillation.weight'
      ? { label: t('Share of the loss'), unit: t('of the loss') }
      : { label: t('{0}: peak learning rate', titleOf(id)), unit: t('peak learning rate') },
  trainedNumbers: (count: string, bytes: string) => t('{0} numbers, {1} to train them', count, bytes),
  activationsAre: (name: string, about: string) => (about === '' ? name : t('{0}: {1}', name, about)),

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
  start: () => t('Finding the start'),
  floatModel: () => t('Float model'),
  unknownTime: () => t('not known'),
  onceBefore: () => t('once, before the first step'),
  teacherFile: (bytes: string) => t('a file of at most {0}, while it trains', bytes),
  disk: () => t('Disk'),
  diskParts: (checkpoints: number, each: string, merged: string) =>
    checkpoints === 0
      ? t('merged weights {0}', merged)
      : t('at most; {0} checkpoints of {1}, merged weights {2}', checkpoints, each, merged),
  measured: () => t('from speeds measured here'),
  noTraining: () => t('no training'),
  helps: () => t('What would help'),
  use: () => t('Use'),
  suggestion: (title: string, least: string, fits: boolean) =>
    fits ? t('{0}: {1} at least, fits', title, least) : t('{0}: {1} at least, still too much', title, least),
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
    case 'activations':
      return t('Activations');
    case 'start':
      return t('Start and calibration');
    case 'trained':
      return t('What is trained');
    case 'training':
      return t('Training');
    case 'distillation':
      return t('Distillation');
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
  'training.learningRate.norms': () => t('Train the norms'),
  'training.learningRate.head': () => t('Train the head'),
  'training.learningRate.embeddings': () => t('Train the embeddings'),
  'training.schedule': () => t('Schedule'),
  'training.warmupRatio': () => t('Warm-up'),
  'training.finalLearningRateRatio': () => t('Final learning rate'),
  'training.beta1': () => t('Beta 1'),
  'training.beta2': () => t('Beta 2'),
  'training.epsilon': () => t('Epsilon'),
  'training.weightDecay': () => t('Weight decay'),
  'training.gradientClip': () => t('Gradient clip'),
  'training.seed': () => t('Seed'),
  'training.distillation.weight': () => t('Follow the float model'),
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

/** What null stands for where a number could be; a word alone where nothing better is known. */
export function nullMeans(id: string): string {
  switch (id) {
    case 'quantization.fractionBits':
    case 'fractionBits':
      return t('8 less the bits');
    case 'quantization.activations.kvBits':
      return t('as the others');
    case 'training.learningRate.zeroPoints':
      return t('as the scales');
    case 'training.gradientClip':
    case 'training.learningRate.norms':
    case 'training.learningRate.head':
    case 'training.learningRate.embeddings':
      return t('none');
    case 'quantization.activations':
      return t('not quantized');
    case 'evaluation.maxBatches':
      return t('all');
    default:
      return 'null';
  }
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
      return t('Scales and what is trained');
    case 'gradients':
      return t('Gradients');
    case 'optimizer':
      return t('Optimiser moments');
    case 'host':
      return t('In host memory');
  }
}
