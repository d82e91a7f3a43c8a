// Which settings do nothing, given the others, and why. Pure. What the rules say here agrees with what the trainer does with the
// settings (src/experiment); none of them changes the file.
import { activationSettings, STATIC_KEYS } from '../../src/experiment/activations';
import { hasZeroPoints } from '../../src/experiment/linears';
import type { Experiment } from '../../src/experiment/schema';
import { isTrained, startOf } from '../../src/experiment/start';
import type { Bounds } from './fields';
import { text } from './strings';

export interface NoEffect {
  readonly reason: string;
  /** The section says that the setting is left out: people look for it. Else it is a detail of a choice that was not made. */
  readonly noted: boolean;
}

type Rule = (experiment: Experiment, bounds: Bounds) => NoEffect | null;

const noted = (reason: string): NoEffect => ({ reason, noted: true });
const detail = (reason: string): NoEffect => ({ reason, noted: false });

const untrained: Rule = (experiment) =>
  isTrained(experiment) ? null : noted(text.trainsNothing(experiment.quantization.method));

const noLowRank: Rule = (experiment) => {
  const { method } = experiment.quantization;
  if (method === 'lr-qat') return null;
  if (!isTrained(experiment)) return untrained(experiment, UNKNOWN);
  return noted(method === 'lsq' ? text.trainsWeights(method) : text.trainsScales(method));
};

/** The same, of what nobody would look for. */
const quietly =
  (rule: Rule): Rule =>
  (experiment, bounds) => {
    const found = rule(experiment, bounds);
    return found === null ? null : detail(found.reason);
  };

const rankZero: Rule = ({ quantization: { lowRank, layers } }) =>
  lowRank.rank > 0 || layers.some(({ rank }) => (rank ?? 0) > 0) ? null : detail(text.rankZero());

const scalesStay: Rule = (experiment) => {
  const { learnScales, layers } = experiment.quantization;
  if (!isTrained(experiment)) return untrained(experiment, UNKNOWN);
  return learnScales || layers.some((layer) => layer.learnScales === true) ? null : detail(text.scalesStay());
};

const noZeroPoints: Rule = (experiment) => {
  if (!hasZeroPoints(experiment)) return detail(text.noZeroPoints());
  return experiment.quantization.method === 'peqa' ? noted(text.trainsScales('peqa')) : null;
};

const zeroPointsStay: Rule = ({ quantization: { learnZeroPoints, layers } }) =>
  learnZeroPoints || layers.some((layer) => layer.learnZeroPoints === true) ? null : detail(text.zeroPointsStay());

const notFixedPoint: Rule = ({ quantization: { storage, layers } }) =>
  storage === 'fixed-point' || layers.some((layer) => layer.storage === 'fixed-point')
    ? null
    : detail(text.notFixedPoint(storage));

const startsElsewhere: Rule = ({ quantization: { method } }) => {
  switch (method) {
    case 'lr-qat':
    case 'peqa':
      return null;
    case 'lsq':
      return noted(text.startsFromCheckpoint(method));
    case 'gptq':
      return noted(text.findsIntegers(method));
    case 'rtn':
      return noted(text.onlyRounds(method));
  }
};

const notSvd: Rule = ({ quantization: { start } }) => (start.lowRank === 'svd' ? null : detail(text.onlyWithSvd()));

const notGptq: Rule = (experiment) => (startOf(experiment)?.gptq === true ? null : detail(text.onlyWithGptq()));

const notLsq: Rule = ({ quantization: { method } }) => (method === 'lsq' ? null : detail(text.onlyWithLsq()));

const tiedHead: Rule = (_, { floats }) => (floats?.head === 0 ? noted(text.tiedHead()) : null);

const noDistillation: Rule = ({ training: { distillation } }) =>
  distillation.weight > 0 ? null : detail(text.noDistillation());

const noDecay: Rule = ({ training: { schedule } }) => (schedule === 'constant' ? detail(text.constantRate()) : null);

const noWikitext: Rule = ({ evaluation }) => (evaluation.kinds.includes('wikitext') ? null : detail(text.noWikitext()));

const rounds: Rule = (experiment) => (experiment.quantization.method === 'rtn' ? untrained(experiment, UNKNOWN) : null);

const notStatic: Rule = (experiment) => (settingsOf(experiment)?.range === 'static' ? null : detail(text.notStatic()));

const rangesStay: Rule = (experiment) => (settingsOf(experiment)?.learn === true ? null : detail(text.rangesStay()));

const integerAnyway: Rule = (experiment) =>
  settingsOf(experiment)?.range === 'static' ? detail(text.staticIntegers()) : null;

const noCacheSites: Rule = (experiment) => {
  const sites: readonly string[] = settingsOf(experiment)?.sites ?? [];
  return sites.includes('keys') || sites.includes('values') ? null : noted(text.noCacheSites());
};

const UNKNOWN: Bounds = { largestRank: Infinity, maxPositions: Infinity, floats: null };

const TRAINING: readonly string[] = [
  'steps',
  'batchSize',
  'learningRate',
  'schedule',
  'warmupRatio',
  'finalLearningRateRatio',
  'beta1',
  'beta2',
  'epsilon',
  'weightDecay',
  'gradientClip',
  'distillation',
  'activationCheckpointing',
].map((key) => `training.${key}`);

/** For keys and all below them; of several rules for a key the first that speaks counts. */
const RULES: readonly (readonly [rule: Rule, ...beginnings: string[]])[] = [
  [noZeroPoints, 'quantization.learnZeroPoints', 'training.learningRate.zeroPoints'],
  [untrained, ...TRAINING, 'quantization.learnScales', 'quantization.learnZeroPoints'],
  [untrained, 'evaluation.everySteps', 'checkpoint', 'quantization.activations.learn'],
  [rounds, 'training.seed'],
  [noLowRank, 'quantization.lowRank', 'quantization.storage', 'quantization.start.lowRank'],
  [quietly(noLowRank), 'quantization.fractionBits', 'quantization.encoding', 'quantization.start.iterations'],
  [quietly(noLowRank), 'training.learningRate.lowRank'],
  [rankZero, 'quantization.lowRank.alpha', 'training.learningRate.lowRank'],
  [notLsq, 'training.learningRate.weights', 'quantization.lsq'],
  [notFixedPoint, 'quantization.fractionBits', 'quantization.encoding'],
  [startsElsewhere, 'quantization.start.integers'],
  [notSvd, 'quantization.start.iterations'],
  [notGptq, 'quantization.gptq'],
  [quietly(scalesStay), 'quantization.weights.scaleDomain', 'training.learningRate.scales'],
  [quietly(scalesStay), 'quantization.learnZeroPoints', 'training.learningRate.zeroPoints'],
  [zeroPointsStay, 'training.learningRate.zeroPoints'],
  [tiedHead, 'training.learningRate.head'],
  [noDecay, 'training.finalLearningRateRatio'],
  [noDistillation, 'training.distillation.topK', 'training.distillation.temperature'],
  [noWikitext, 'evaluation.wikitext'],
  [integerAnyway, 'quantization.activations.zeroPoint'],
  [noCacheSites, 'quantization.activations.kvBits'],
  [notStatic, ...STATIC_KEYS.map((key) => `quantization.activations.${key}`)],
  [rangesStay, 'quantization.activations.learningRate', 'quantization.activations.gradientScaling'],
];

/** What the rules look at: where a sweep changes one of these, every setting may do something in one of the runs. */
const DECIDING: ReadonlySet<string> = new Set([
  'quantization.method',
  'quantization.activations',
  'quantization.storage',
  'quantization.start.integers',
  'quantization.start.lowRank',
  'quantization.lowRank.rank',
  'quantization.learnScales',
  'quantization.learnZeroPoints',
  'quantization.weights.symmetric',
  'quantization.layers',
  'training.distillation.weight',
  'training.schedule',
  'evaluation.kinds',
  'model.path',
]);

/** Why a setting does nothing; null: it does something, or nothing can be said because the settings have the wrong types. */
export function noEffect(id: string, experiment: Experiment, bounds: Bounds): NoEffect | null {
  try {
    if (sweptKeys(experiment).some((key) => DECIDING.has(key))) return null;
    for (const [rule, ...beginnings] of RULES) {
      if (!beginnings.some((beginning) => id === beginning || id.startsWith(`${beginning}.`))) continue;
      const found = rule(experiment, bounds);
      if (found !== null) return found;
    }
    return null;
  } catch (error) {
    // What the text holds need not be of the right type.
    if (error instanceof TypeError) return null;
    throw error;
  }
}

function sweptKeys(experiment: Experiment): readonly string[] {
  const { sweep } = experiment as Experiment & { readonly sweep?: unknown };
  return typeof sweep === 'object' && sweep !== null ? Object.keys(sweep) : [];
}

function settingsOf({ quantization: { activations } }: Experiment): ReturnType<typeof activationSettings> | null {
  return activations === null ? null : activationSettings(activations);
}
