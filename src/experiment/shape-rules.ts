// Rules that need the shape of the model: what can be said without reading text, disk or memory.

import { LINEAR_NAMES, linearNames, type LinearName, type ModelShape } from '../formats/model-shape';
import { quoted } from './allowed';
import { distillationOf } from './distillation';
import { divisors } from './divisors';
import { matchesGlob, resolveLinears } from './linears';
import { quantizedLinears, type QuantizedLinear } from './quantized-linears';
import { nearest } from './nearest';
import { pathText, type KeyPath } from './problem';
import type { Finding } from './rule';
import type { Experiment, LayerOverride } from './schema';
import { isTrained } from './start';

/** Everything about the experiment that this model does not allow. */
export function shapeFindings(experiment: Experiment, shape: ModelShape): Finding[] {
  const quantized = quantizedLinears({ shape, linears: resolveLinears(experiment, shape) });
  return [
    ...positions(experiment, shape),
    ...tiedHead(experiment, shape),
    ...unusedMatches(experiment, shape),
    ...nothingQuantized(experiment, quantized),
    ...groups(experiment, quantized),
    ...ranks(experiment, quantized),
    ...widths(experiment, quantized),
    ...teacherClasses(experiment, shape),
  ];
}

function* positions({ data, evaluation }: Experiment, shape: ModelShape): Iterable<Finding> {
  const limit = shape.maxPositions;
  if (data.sequenceLength > limit) {
    yield {
      path: ['data', 'sequenceLength'],
      value: data.sequenceLength,
      message: `data.sequenceLength: ${String(data.sequenceLength)} is more than the ${String(limit)} positions of the model; use at most ${String(limit)}`,
      replacements: [limit],
    };
  }
  if (evaluation.kinds.includes('wikitext') && evaluation.wikitext.sequenceLength > limit) {
    yield {
      path: ['evaluation', 'wikitext', 'sequenceLength'],
      value: evaluation.wikitext.sequenceLength,
      message: `evaluation.wikitext.sequenceLength: ${String(evaluation.wikitext.sequenceLength)} is more than the ${String(limit)} positions of the model; use at most ${String(limit)}`,
      replacements: [limit],
    };
  }
}

function* tiedHead(experiment: Experiment, { tiedEmbeddings }: ModelShape): Iterable<Finding> {
  const { head, embeddings } = experiment.training.learningRate;
  if (!tiedEmbeddings || !isTrained(experiment) || (head ?? 0) === 0) return;
  const both = (embeddings ?? 0) > 0;
  yield {
    path: ['training', 'learningRate', 'head'],
    reads: ['training.learningRate.embeddings', 'quantization.method'],
    value: head,
    message: `training.learningRate.head: ${String(head)} trains nothing of its own, as the head of this model is its embedding table (tie_word_embeddings); use null${both ? ', embeddings trains both' : ' and training.learningRate.embeddings, which trains both'}`,
    replacements: [null],
  };
}

function* unusedMatches({ quantization: { layers } }: Experiment, shape: ModelShape): Iterable<Finding> {
  const names = linearNames(shape);
  for (const [index, { match }] of layers.entries()) {
    if (names.some((name) => matchesGlob(match, name))) continue;
    const meant = nearestMatch(match, shape);
    yield {
      path: ['quantization', 'layers', index, 'match'],
      value: match,
      severity: 'warning',
      message: `quantization.layers[${String(index)}].match: ${quoted(match)} matches no linear${meant === undefined ? '' : `; did you mean ${quoted(meant)}?`}`,
      hint: `linears are named model.layers.0 to model.layers.${String(shape.layers - 1)}, each with ${LINEAR_NAMES.join(', ')}`,
      ...(meant === undefined ? {} : { replacements: [meant] }),
    };
  }
}

/** The pattern with its words replaced by the nearest ones that occur in names of linears. */
function nearestMatch(match: string, shape: ModelShape): string | undefined {
  const words = new Set(LINEAR_NAMES.flatMap((linear) => linear.split('.')).concat('model', 'layers'));
  const corrected = match
    .split('.')
    .map((piece) => (/^[*\d]*$/.test(piece) || words.has(piece) ? piece : (nearest(piece, words) ?? piece)))
    .join('.');
  const names = linearNames(shape);
  const found = [corrected, `*.${corrected}`, `*${corrected}*`].find(
    (candidate) => candidate !== match && names.some((name) => matchesGlob(candidate, name)),
  );
  return found;
}

function* nothingQuantized({ quantization }: Experiment, quantized: readonly QuantizedLinear[]): Iterable<Finding> {
  if (quantized.length > 0) return;
  yield {
    path: ['quantization', 'layers'],
    message: 'quantization.layers skips every linear, so nothing is quantized; let at least one entry not skip',
    value: quantization.layers.length,
  };
}

/** Where a linear takes a setting from: the last matching override that sets it, or the common setting. */
function origin(experiment: Experiment, name: string, key: keyof LayerOverride, common: KeyPath): KeyPath {
  const index = experiment.quantization.layers.findLastIndex(
    (layer) => layer[key] !== undefined && matchesGlob(layer.match, name),
  );
  return index < 0 ? common : ['quantization', 'layers', index, key];
}

interface Breach {
  readonly path: KeyPath;
  readonly linears: QuantizedLinear[];
}

/** Linears that break a rule, together by the place of the setting they share. */
function byOrigin(
  experiment: Experiment,
  broken: readonly QuantizedLinear[],
  key: keyof LayerOverride,
  common: KeyPath,
): Breach[] {
  const breaches = new Map<string, Breach>();
  for (const linear of broken) {
    const path = origin(experiment, linear.name, key, common);
    const id = path.join('.');
    const breach = breaches.get(id) ?? { path, linears: [] };
    breach.linears.push(linear);
    breaches.set(id, breach);
  }
  return [...breaches.values()];
}

function* groups(experiment: Experiment, quantized: readonly QuantizedLinear[]): Iterable<Finding> {
  const broken = quantized.filter(({ spec, inputs }) => spec.groupSize > 0 && inputs % spec.groupSize !== 0);
  const common = ['quantization', 'weights', 'granularity'];
  for (const { path, linears } of byOrigin(experiment, broken, 'granularity', common)) {
    const group = linears[0]?.spec.groupSize ?? 0;
    // All linears that take their group from here must be divided, not only those that fail now.
    const together = quantized.filter(
      ({ name, spec }) =>
        spec.groupSize > 0 && origin(experiment, name, 'granularity', common).join('.') === path.join('.'),
    );
    const valid = nearestGroups(group, together.map(({ inputs }) => inputs).reduce(greatestCommonDivisor, 0));
    yield {
      path,
      value: { group },
      message: `${pathText(path)}: group ${String(group)} does not divide the input width of ${describe(linears, ({ inputs }) => String(inputs))}; use ${valid.map(String).join(' or ')}`,
      hint: `A group of its own for some linears goes into quantization.layers: { "match": "*.down_proj", "granularity": { "group": ${String(valid[0] ?? 1)} } }.`,
      replacements: valid.map((size) => ({ group: size })),
    };
  }
}

/** The divisors of `width` around `group`, the nearer one first. */
function nearestGroups(group: number, width: number): number[] {
  const choices = divisors(width);
  const below = choices.findLast((choice) => choice < group);
  const above = choices.find((choice) => choice > group);
  return [below, above]
    .filter((choice) => choice !== undefined)
    .sort((a, b) => Math.abs(Math.log(a / group)) - Math.abs(Math.log(b / group)));
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

function* ranks(experiment: Experiment, quantized: readonly QuantizedLinear[]): Iterable<Finding> {
  const side = ({ outputs, inputs }: QuantizedLinear): number => Math.min(outputs, inputs);
  const broken = quantized.filter((linear) => linear.spec.rank > side(linear));
  for (const { path, linears } of byOrigin(experiment, broken, 'rank', ['quantization', 'lowRank', 'rank'])) {
    const limit = Math.min(...linears.map(side));
    const rank = linears[0]?.spec.rank ?? 0;
    yield {
      path,
      reads: ['quantization.method'],
      value: rank,
      message: `${pathText(path)}: ${String(rank)} is above the smaller side of ${describe(linears, ({ outputs, inputs }) => `${String(outputs)} × ${String(inputs)}`)}; use at most ${String(limit)}`,
      replacements: [limit],
    };
  }
}

/** bits + fractionBits per linear, for overrides that only break the rule together. */
function* widths(experiment: Experiment, quantized: readonly QuantizedLinear[]): Iterable<Finding> {
  const broken = quantized.filter(({ spec }) => spec.storage === 'fixed-point' && spec.bits + spec.fractionBits > 8);
  for (const { path, linears } of byOrigin(experiment, broken, 'fractionBits', ['quantization', 'fractionBits'])) {
    const { bits, fractionBits } = linears[0]?.spec ?? { bits: 0, fractionBits: 0 };
    yield {
      path,
      reads: ['quantization'],
      value: fractionBits,
      message: `${pathText(path)}: ${String(fractionBits)} with ${String(bits)} bits makes ${String(bits + fractionBits)} bits a weight for ${describe(linears, ({ spec }) => `${String(spec.bits)} bits`)}, fixed-point storage has room for 8; use null`,
      replacements: [null],
    };
  }
}

function* teacherClasses(experiment: Experiment, { vocabSize }: ModelShape): Iterable<Finding> {
  const distillation = distillationOf(experiment);
  if (distillation === null || distillation.topK <= vocabSize) return;
  yield {
    path: ['training', 'distillation', 'topK'],
    reads: ['training.distillation.weight', 'quantization.method'],
    value: distillation.topK,
    message: `training.distillation.topK: ${String(distillation.topK)} is more than the ${String(vocabSize)} tokens of the vocabulary; use at most ${String(vocabSize)}`,
    replacements: [vocabSize],
  };
}

/** `model.layers.*.mlp.down_proj (172)`: linears of all layers in one word, with the fact that matters. */
function describe(linears: readonly QuantizedLinear[], fact: (linear: QuantizedLinear) => string): string {
  const kinds = new Map<LinearName, QuantizedLinear[]>();
  for (const linear of linears) kinds.set(linear.linear, [...(kinds.get(linear.linear) ?? []), linear]);
  return [...kinds.values()]
    .map((group) => {
      const first = group[0];
      if (!first) return '';
      const name = group.length === 1 ? first.name : `model.layers.*.${first.linear}`;
      return `${name} (${fact(first)})`;
    })
    .join(', ');
}
