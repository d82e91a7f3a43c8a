// `npm run table [-- --data DIR] [--only SUBJECT] [--runs DIR] [--jobs N] [--seconds N] [--finished]`: every method on every grid, and
// docs/results.md from what they came to. Before, each trained method gets its learning rates by a search on a part of the training
// text. Runs that are done are taken as they are while their experiment is the same, so that an interrupted table goes on, also with
// runs that another machine made; with --finished nothing is trained, and cells without a run are dashes. --jobs: trainings at once, which
// share the processors; --seconds: then what still runs is given up, and the table has what is done.

import { setMaxListeners } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import type { ExperimentInput } from '../../src/experiment';
import type { RunResult } from '../../src/runs';
import {
  cellName,
  cells,
  experimentOf,
  questionName,
  questionOf,
  questions,
  trialOf,
  type Cell,
  type Subject,
} from './matrix';
import { ratesTable, tableOf, withTable, type Found, type Measured } from './page';
import { slots } from './pool';
import { climb, type Rates } from './search';
import { provide, SUBJECTS } from './subjects';
import { finished, train, type Trainings } from './training';

const PAGE = 'docs/results.md';

const { values } = parseArgs({
  options: {
    data: { type: 'string', default: '../shared/data' },
    runs: { type: 'string', default: 'build/table' },
    only: { type: 'string' },
    jobs: { type: 'string', default: '1' },
    seconds: { type: 'string' },
    finished: { type: 'boolean', default: false },
  },
});

/** A run that is not there and may not be made. */
class NotRun extends Error {}

/** What the subjects share. */
interface Work {
  /** A result that lies there, or is made now.
   *  @throws NotRun */
  readonly result: (subject: Subject, experiment: ExperimentInput, purpose: 'search' | 'cell') => Promise<RunResult>;
  readonly say: (line: string) => void;
}

await table();

async function table(): Promise<void> {
  const runs = path.resolve(values.runs);
  const jobs = wholeNumber('--jobs', values.jobs);
  const named = SUBJECTS.filter(({ id }) => values.only === undefined || id === values.only);
  if (named.length === 0) throw new Error(`--only: none of ${SUBJECTS.map(({ id }) => id).join(', ')}`);
  mkdirSync(runs, { recursive: true });
  const chosen = values.finished ? named : provide(named, runs, path.resolve(values.data));

  const ends = new AbortController();
  // Every training that runs listens.
  setMaxListeners(jobs, ends.signal);
  const limit = values.seconds === undefined ? null : wholeNumber('--seconds', values.seconds);
  const timer = limit === null ? null : setTimeout(() => ends.abort(), limit * 1000);
  const work = workOf(runs, jobs, ends.signal);
  const outcomes = await Promise.all(
    chosen.map(async (subject) => ({ subject, ...(await measureAll(subject, work)) })),
  );
  if (timer !== null) clearTimeout(timer);
  if (ends.signal.aborted) work.say(`the ${String(limit)} s are over: the same command goes on from here`);

  for (const { subject, measured, found } of outcomes) {
    const total = cells(subject).length;
    if (measured.length === 0) {
      console.log(`${subject.id}: no run in ${path.join(runs, subject.id)}; ${PAGE} stays as it is`);
      continue;
    }
    // The page of the project, where this is the project.
    if (existsSync(PAGE)) {
      const made = [tableOf(subject, measured), ratesTable(subject, found)].join('\n\n');
      writeFileSync(PAGE, withTable(readFileSync(PAGE, 'utf8'), subject, made));
    }
    console.log(`${subject.id}: ${String(measured.length)} of ${String(total)} runs of the table are done`);
  }
}

function workOf(runs: string, jobs: number, deadline: AbortSignal): Work {
  const threads = Math.max(1, Math.floor(os.availableParallelism() / jobs));
  const pool = slots(jobs);
  const over = () => deadline.aborted;
  const started = performance.now();
  const say = (line: string) => {
    const seconds = (performance.now() - started) / 1000;
    console.log(`${seconds.toFixed(0).padStart(5)} s  ${line}`);
  };
  return {
    say,
    async result(subject, experiment, purpose) {
      const trainings: Trainings = { folder: path.join(runs, subject.id), threads, deadline };
      mkdirSync(trainings.folder, { recursive: true });
      const there = await finished(trainings.folder, experiment);
      if (there !== null) return there;
      if (values.finished) throw new NotRun();
      // Cells wait for searches, so searches do not wait for cells.
      const rank = 2 * SUBJECTS.indexOf(subject) + (purpose === 'search' ? 0 : 1);
      return pool.run(rank, async () => {
        if (over()) throw new NotRun();
        const name = `${subject.id}  ${experiment.name ?? ''}`;
        try {
          const result = await train(trainings, experiment);
          say(`${name}  ${result.perplexity.merged?.toFixed(3) ?? 'not finite'}  ${result.seconds.toFixed(1)} s`);
          return result;
        } catch (error) {
          if (over()) throw new NotRun();
          say(`${name}  FAILED\n${error instanceof Error ? error.message : String(error)}`);
          process.exitCode = 1;
          throw new NotRun();
        }
      });
    },
  };
}

/** Searches, then cells as soon as their rates are known: nothing waits for a method that it does not need. */
async function measureAll(subject: Subject, work: Work): Promise<{ measured: Measured[]; found: Found[] }> {
  const searches = new Map(
    questions(subject).map((question) => {
      const trial = async (rates: Rates) =>
        (await work.result(subject, trialOf(question, rates), 'search')).perplexity.merged ?? Infinity;
      const name = questionName(question);
      const searched = orNull(climb(question.search.start, question.search.names, trial));
      return [name, { question, searched }] as const;
    }),
  );
  const measured = await Promise.all(
    cells(subject).map((cell) => {
      const question = questionOf(cell);
      const rates = question === null ? null : searches.get(questionName(question))?.searched;
      if (rates === undefined) throw new Error(`${cellName(cell)}: its rates are searched nowhere`);
      return orNull(measure(cell, rates, work));
    }),
  );
  const found: Found[] = [];
  for (const { question, searched } of searches.values()) {
    const best = await searched;
    if (best !== null) found.push({ question, rates: best.rates });
  }
  return { measured: measured.filter((each) => each !== null), found };
}

async function measure(cell: Cell, search: Promise<{ rates: Rates } | null> | null, work: Work): Promise<Measured> {
  const best = await search;
  if (search !== null && best === null) throw new NotRun();
  const result = await work.result(cell.subject, experimentOf(cell, best?.rates ?? null), 'cell');
  const { merged, float } = result.perplexity;
  if (merged === null || float === null) {
    work.say(`${cell.subject.id}  ${cellName(cell)}: the perplexity is not finite`);
    throw new NotRun();
  }
  return { cell, perplexity: merged, float, bitsPerWeight: result.bitsPerWeight };
}

async function orNull<T>(promise: Promise<T>): Promise<T | null> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof NotRun) return null;
    throw error;
  }
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${option} ${text}: must be a whole number from 1`);
  return value;
}
