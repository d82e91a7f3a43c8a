// The models and texts of the table, copied beside its runs: what an experiment file says of them is the same on every machine.

import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Subject } from './matrix';

/** Stories of the sample that train; the others validate. */
const TRAINING_STORIES = 1000;
/** Part of the training text on which the search for learning rates trains; the rest judges. */
const FITTED = 0.9;

const INPUTS = 'inputs';
const STORIES = ['train', 'validation', 'fitted', 'held-out'] as const;

const sample: Subject = {
  id: 'sample',
  title: 'The sample: 3.1 million parameters, its own texts',
  model: `../${INPUTS}/sample/model`,
  train: `../${INPUTS}/sample/train.txt`,
  validation: `../${INPUTS}/sample/validation.txt`,
  search: { train: `../${INPUTS}/sample/fitted.txt`, heldOut: `../${INPUTS}/sample/held-out.txt` },
  packing: 'join',
  group: 32,
  rank: 32,
  steps: 150,
};

const small = (id: string, title: string, group: number): Subject => ({
  id,
  title,
  model: `../${INPUTS}/${id}`,
  train: `../${INPUTS}/stories/train.jsonl`,
  validation: `../${INPUTS}/stories/validation.jsonl`,
  search: { train: `../${INPUTS}/stories/fitted.jsonl`, heldOut: `../${INPUTS}/stories/held-out.jsonl` },
  packing: 'documents',
  group,
  rank: 16,
  steps: 150,
});

export const SUBJECTS: readonly Subject[] = [
  sample,
  small('babyllama936K', 'babyllama936K on TinyStories, characters', 32),
  small('stories279K', 'stories279K on TinyStories', 64),
];

/** Puts models and texts under `folder/inputs`.
 *  @param data folder of further models and texts
 *  @returns the subjects that have all they need */
export function provide(subjects: readonly Subject[], folder: string, data: string): Subject[] {
  return subjects.filter((subject) => {
    if (subject.id === 'sample') {
      provideSample(path.join(folder, INPUTS, 'sample'));
      return true;
    }
    const stories = path.join(data, 'text/tinystories/tinystories_sample.jsonl');
    const model = path.join(data, 'models', subject.id);
    const missing = [stories, model].find((each) => !existsSync(each));
    if (missing !== undefined) {
      console.log(`${subject.id}: left out, ${missing} is absent`);
      return false;
    }
    cpSync(model, path.join(folder, INPUTS, subject.id), { recursive: true, preserveTimestamps: true });
    provideStories(stories, path.join(folder, INPUTS, 'stories'));
    return true;
  });
}

function provideSample(folder: string): void {
  const from = 'samples/first-run';
  mkdirSync(folder, { recursive: true });
  for (const name of ['model', 'train.txt', 'validation.txt'])
    cpSync(path.join(from, name), path.join(folder, name), { recursive: true, preserveTimestamps: true });
  const text = readFileSync(path.join(from, 'train.txt'), 'utf8');
  // Between two paragraphs.
  const at = text.indexOf('\n\n', FITTED * text.length);
  if (at < 0) throw new Error(`${from}/train.txt: no blank line in its last tenth`);
  writeFileSync(path.join(folder, 'fitted.txt'), text.slice(0, at + 1));
  writeFileSync(path.join(folder, 'held-out.txt'), text.slice(at + 2));
}

function provideStories(file: string, folder: string): void {
  mkdirSync(folder, { recursive: true });
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  const train = lines.slice(0, TRAINING_STORIES);
  const fitted = Math.round(FITTED * train.length);
  const parts = {
    train,
    validation: lines.slice(TRAINING_STORIES),
    fitted: train.slice(0, fitted),
    'held-out': train.slice(fitted),
  };
  for (const name of STORIES) writeFileSync(path.join(folder, `${name}.jsonl`), `${parts[name].join('\n')}\n`);
}
