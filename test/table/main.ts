// `npm run table [-- --data DIR] [--only SUBJECT] [--runs DIR] [--finished]`: every method on every grid, and docs/results.md from what they
// came to. Runs that are done are taken as they are while their experiment is the same, so that an interrupted table goes on; with --finished nothing
// is trained, and cells without a run are dashes.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { readResult, type RunResult } from '../../src/runs';
import { cellName, cells, experimentOf, type Cell, type Subject } from './matrix';
import { tableOf, withTable, type Measured } from './page';

const PAGE = 'docs/results.md';
/** Stories of the sample that train; the others validate. */
const TRAINING_STORIES = 1000;

function subjectsOf(data: string, scratch: string): Subject[] {
  const sample: Subject = {
    id: 'sample',
    title: 'The sample: 3.1 million parameters, its own texts',
    model: path.resolve('samples/first-run/model'),
    train: path.resolve('samples/first-run/train.txt'),
    validation: path.resolve('samples/first-run/validation.txt'),
    packing: 'join',
    group: 32,
    rank: 32,
    steps: 150,
    learningRate: { lowRank: 4e-3, scales: 5e-4, weights: 5e-4 },
  };
  const stories = path.join(data, 'text/tinystories/tinystories_sample.jsonl');
  if (!existsSync(stories)) {
    console.log(`${stories} is absent: only the sample is compared`);
    return [sample];
  }
  const lines = readFileSync(stories, 'utf8').trimEnd().split('\n');
  const train = path.join(scratch, 'train.jsonl');
  const validation = path.join(scratch, 'validation.jsonl');
  writeFileSync(train, `${lines.slice(0, TRAINING_STORIES).join('\n')}\n`);
  writeFileSync(validation, `${lines.slice(TRAINING_STORIES).join('\n')}\n`);
  const small = (id: string, title: string, group: number): Subject => ({
    id,
    title,
    model: path.join(data, 'models', id),
    train,
    validation,
    packing: 'documents',
    group,
    rank: 16,
    steps: 150,
    learningRate: { lowRank: 4e-3, scales: 5e-4, weights: 5e-4 },
  });
  return [
    sample,
    small('babyllama936K', 'babyllama936K on TinyStories, characters', 32),
    small('stories279K', 'stories279K on TinyStories', 64),
  ];
}

/** The run of a cell: as it lies there, or trained now; null: neither. */
async function measure(cell: Cell, folder: string, train: boolean): Promise<Measured | null> {
  const experiment = `${JSON.stringify(experimentOf(cell), null, 2)}\n`;
  const file = path.join(folder, `${cellName(cell)}.lrqat.json`);
  const runs = path.join(folder, cellName(cell));
  const unchanged = existsSync(file) && readFileSync(file, 'utf8') === experiment;
  let result = unchanged ? await resultIn(runs) : null;
  if (result === null && !train) return null;
  if (result === null) {
    rmSync(runs, { recursive: true, force: true });
    writeFileSync(file, experiment);
    execFileSync(process.execPath, ['dist/cli.js', 'train', file, '--runs', runs, '--foreground', '--json'], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    result = await resultIn(runs);
  }
  if (result === null) throw new Error(`${runs}: the run has no result`);
  const { merged, float } = result.perplexity;
  if (merged === null || float === null) throw new Error(`${runs}: the perplexity is not finite`);
  return { cell, perplexity: merged, float, bitsPerWeight: result.bitsPerWeight };
}

async function resultIn(runs: string): Promise<RunResult | null> {
  if (!existsSync(runs)) return null;
  for (const name of readdirSync(runs)) {
    const result = await readResult(path.join(runs, name));
    if (result !== null) return result;
  }
  return null;
}

const { values } = parseArgs({
  options: {
    data: { type: 'string', default: '../shared/data' },
    runs: { type: 'string', default: 'build/table' },
    only: { type: 'string' },
    finished: { type: 'boolean', default: false },
  },
});
const scratch = path.resolve(values.runs);
mkdirSync(scratch, { recursive: true });
const subjects = subjectsOf(path.resolve(values.data), scratch);
const chosen = subjects.filter(({ id }) => values.only === undefined || id === values.only);
if (chosen.length === 0) throw new Error(`--only: none of ${subjects.map(({ id }) => id).join(', ')}`);
for (const subject of chosen) {
  const folder = path.join(scratch, subject.id);
  mkdirSync(folder, { recursive: true });
  const all = cells(subject);
  const measured: Measured[] = [];
  for (const [at, cell] of all.entries()) {
    const made = await measure(cell, folder, !values.finished);
    if (made === null) continue;
    measured.push(made);
    const { perplexity } = made;
    console.log(`${subject.id} ${String(at + 1)}/${String(all.length)}  ${cellName(cell)}  ${perplexity.toFixed(3)}`);
  }
  if (measured.length === 0) {
    console.log(`${subject.id}: no run in ${folder}; ${PAGE} stays as it is`);
    continue;
  }
  writeFileSync(PAGE, withTable(readFileSync(PAGE, 'utf8'), subject, tableOf(subject, measured)));
  console.log(`${PAGE}: table of ${subject.id} written`);
}
