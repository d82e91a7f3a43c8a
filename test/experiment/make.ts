import assert from 'node:assert/strict';

import { applyOverrides, parseExperiment, type Experiment } from '../../src/experiment';

/** The smallest experiment with some settings. */
export function experimentWith(...sets: string[]): Experiment {
  const text = '{ "model": { "path": "model" }, "data": { "train": ["train.txt"], "validation": ["v.txt"] } }';
  const { experiment, problems } = parseExperiment(applyOverrides(text, sets), 'test.lrqat.json');
  assert.ok(experiment, problems.map(({ message }) => message).join('\n'));
  return experiment;
}

/** Numbers in [0, 1) from a seed (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
