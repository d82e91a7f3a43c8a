// Rotary embedding settings of a config.json: `rope_parameters` (transformers 5) or `rope_theta` with `rope_scaling` (before).
import type { ConfigReader } from './config-reader';
import type { RopeScaling } from './model-shape';
import { quote } from './show-value';

const DEFAULT_THETA = 10_000;
const MAX_POSITIONS = 2 ** 31 - 1;
const ORIGINAL_POSITIONS = 'original_max_position_embeddings';
const LLAMA3_KEYS = ['low_freq_factor', 'high_freq_factor', ORIGINAL_POSITIONS] as const;
const NO_SCALING: RopeScaling = { type: 'none' };

export interface Rope {
  readonly theta: number;
  readonly scaling: RopeScaling;
}

/** Reads either style. Where both are there, or one number is given in two places, they must agree: readers differ in which
 *  they believe. */
export function readRope(config: ConfigReader, maxPositions: number): Rope {
  // Of meaning with llama3 scaling only, where it is looked at.
  config.value(ORIGINAL_POSITIONS);
  const parameters = config.object('rope_parameters');
  const scaling = config.object('rope_scaling');
  if (parameters !== null && scaling !== null) {
    const one = readDictionary(config, parameters, maxPositions);
    const other = readDictionary(config, scaling, maxPositions);
    if (JSON.stringify(one) !== JSON.stringify(other)) {
      config.problem('rope_scaling', 'says something else than rope_parameters; only one of them can be right');
    }
    return one;
  }
  const dictionary = parameters ?? scaling;
  if (dictionary === null) return { theta: config.positive('rope_theta', DEFAULT_THETA), scaling: NO_SCALING };
  return readDictionary(config, dictionary, maxPositions);
}

function readDictionary(config: ConfigReader, rope: ConfigReader, maxPositions: number): Rope {
  const outerTheta = config.has('rope_theta') ? config.positive('rope_theta') : null;
  const theta = rope.positive('rope_theta', outerTheta ?? DEFAULT_THETA);
  if (outerTheta !== null && outerTheta !== theta) {
    rope.problem('rope_theta', `rope_theta outside says ${String(outerTheta)}`);
  }
  const rotary = rope.value('partial_rotary_factor');
  if (rotary !== undefined && rotary !== 1) {
    rope.problem('partial_rotary_factor', 'rotating a part of each head is not supported');
  }
  return { theta, scaling: readScaling(config, rope, maxPositions) };
}

function readScaling(config: ConfigReader, rope: ConfigReader, maxPositions: number): RopeScaling {
  const newName = rope.string('rope_type');
  const oldName = rope.string('type');
  if (newName !== null && oldName !== null && newName !== oldName) {
    rope.problem('type', `rope_type says ${quote(newName)}`);
  }
  const type = newName ?? oldName ?? 'default';
  switch (type) {
    case 'default':
      ignoreUnused(rope, ['factor', ...LLAMA3_KEYS]);
      refuseUnknown(rope);
      return NO_SCALING;
    case 'linear': {
      const factor = rope.positive('factor');
      ignoreUnused(rope, LLAMA3_KEYS);
      refuseUnknown(rope);
      return { type: 'linear', factor };
    }
    case 'llama3': {
      const result = {
        type: 'llama3',
        factor: rope.positive('factor'),
        lowFrequencyFactor: rope.positive('low_freq_factor'),
        highFrequencyFactor: rope.positive('high_freq_factor'),
        originalMaxPositions: originalMaxPositions(config, rope, maxPositions),
      } as const;
      if (result.lowFrequencyFactor >= result.highFrequencyFactor) {
        rope.problem('high_freq_factor', `must be above low_freq_factor (${String(result.lowFrequencyFactor)})`);
      }
      refuseUnknown(rope);
      return result;
    }
    default:
      rope.problem(newName === null ? 'type' : 'rope_type', 'supported are "default", "linear" and "llama3"');
      return NO_SCALING;
  }
}

/** Without this number the model was trained at the length it now has, transformers 5 says (4 refuses). Some writers keep it
 *  outside the dictionary, where versions differ in whether they look. */
function originalMaxPositions(config: ConfigReader, rope: ConfigReader, maxPositions: number): number {
  const inner = rope.has(ORIGINAL_POSITIONS) ? rope.count(ORIGINAL_POSITIONS, MAX_POSITIONS) : maxPositions;
  if (config.has(ORIGINAL_POSITIONS) && config.count(ORIGINAL_POSITIONS, MAX_POSITIONS) !== inner) {
    config.problem(ORIGINAL_POSITIONS, `the rotary settings say ${String(inner)}`);
  }
  return inner;
}

function ignoreUnused(rope: ConfigReader, keys: readonly string[]): void {
  for (const key of keys) if (rope.has(key)) rope.warn(key, 'has no effect with this type');
}

function refuseUnknown(rope: ConfigReader): void {
  for (const key of rope.unread()) {
    if (rope.value(key) !== undefined) rope.problem(key, 'is not supported');
  }
}
