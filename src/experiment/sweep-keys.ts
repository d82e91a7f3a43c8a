// Which keys a sweep may vary, and how their values are called in the names of runs.

import { view, type SchemaView } from './allowed';
import { nearest } from './nearest';
import { ExperimentSchema } from './schema';

/** Schema of every key that may be swept, by its path: all that hold a value, but for the name, which a sweep gives. */
export const sweepable: ReadonlyMap<string, SchemaView> = new Map(leaves(view(ExperimentSchema), ''));

function leaves(schema: SchemaView, prefix: string): [string, SchemaView][] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, child]): [string, SchemaView][] =>
    child.properties ? leaves(child, `${prefix}${key}.`) : prefix + key === 'name' ? [] : [[prefix + key, child]],
  );
}

/** The swept key that was probably meant: a path with a letter wrong, or one of which only the end was written. */
export function nearestSweepable(written: string): string | undefined {
  const paths = [...sweepable.keys()];
  const ends = paths.filter((path) => path.endsWith(`.${written}`));
  if (ends.length > 0) return ends.length === 1 ? ends[0] : undefined;
  const whole = nearest(written, paths);
  if (whole !== undefined) return whole;
  const last = nearest(lastKey(written), paths.map(lastKey));
  const meant = paths.filter((path) => lastKey(path) === last);
  return meant.length === 1 ? meant[0] : undefined;
}

/** Paths that end in a key of this name, where there are several. */
export function namesakes(written: string): string[] {
  const found = [...sweepable.keys()].filter((path) => lastKey(path) === lastKey(written));
  return found.length > 1 ? found : [];
}

export function lastKey(path: string): string {
  return path.slice(path.lastIndexOf('.') + 1);
}

/** Short words of the field; every other key is called by the last part of its path. */
const LABELS: Readonly<Record<string, string>> = {
  'quantization.weights.bits': 'w',
  'quantization.weights.granularity': '',
  'quantization.weights.range': '',
  'quantization.weights.scaleDomain': '',
  'quantization.method': '',
  'quantization.activations': '',
  'quantization.storage': '',
  'quantization.start.integers': 'from',
  'quantization.start.lowRank': 'factors',
  'quantization.gptq.sequences': 'calibration',
  'quantization.fractionBits': 'f',
  'quantization.lowRank.rank': 'rank',
  'quantization.lowRank.alpha': 'alpha',
  'training.learningRate.lowRank': 'lr',
  'training.learningRate.scales': 'lr-scales',
  'training.learningRate.zeroPoints': 'lr-zero-points',
  'training.learningRate.weights': 'lr-weights',
  'training.distillation.weight': 'distill',
  'training.distillation.topK': 'top',
  'training.learningRate.norms': 'lr-norms',
  'training.learningRate.head': 'lr-head',
  'training.learningRate.embeddings': 'lr-embeddings',
  'training.seed': 'seed',
  'training.steps': 'steps',
  'training.batchSize': 'batch',
  'training.microBatchSize': 'micro',
  'data.sequenceLength': 'length',
  'model.path': '',
  device: '',
  compute: '',
};

/** A swept value in the name of a run: `w2`, `rank8`, `lr0.001`, `g128`, `per-channel`, `schedule-cosine`.
 *  @param position of the value in its list, for values that have no short name */
export function valueLabel(path: string, value: unknown, position: number): string {
  const label = LABELS[path] ?? lastKey(path);
  if (typeof value === 'number') return `${label}${String(value)}`;
  if (typeof value === 'string') return joined(label, shortText(value));
  if (typeof value === 'boolean') return joined(label || lastKey(path), value ? 'on' : 'off');
  if (value === null) return joined(label || lastKey(path), 'none');
  const group = typeof value === 'object' && 'group' in value ? value.group : undefined;
  return typeof group === 'number' ? `g${String(group)}` : `${label || lastKey(path)}${String(position + 1)}`;
}

function joined(label: string, text: string): string {
  return label === '' ? text : `${label}-${text}`;
}

/** Of a path the last part without its extension; spaces would end a name in a terminal. */
function shortText(text: string): string {
  const last = text.split(/[\\/]/).at(-1) ?? text;
  return (last.replace(/\.[a-z]{1,8}$/i, '') || last).replace(/\s+/g, '-');
}
