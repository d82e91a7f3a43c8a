// Finished runs that differ in bits and rank, as trainers leave them.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseExperiment } from '../../src/experiment';
import { createRun, EVENT_SCHEMA, gapClosed, RESULT_SCHEMA, runPaths, type RunResult } from '../../src/runs';
import { newStatus } from '../../src/runs/status-file';

export interface FinishedRun {
  readonly bits: number;
  readonly rank: number;
  /** Perplexity. */
  readonly trained: number;
}

/** @returns run directories, oldest first */
export async function finishedRuns(workspace: string, runs: readonly FinishedRun[]): Promise<string[]> {
  const runsFolder = path.join(workspace, '.lrqat', 'runs');
  const experimentFile = path.join(workspace, 'w2-rank32.lrqat.json');
  const sample = readFileSync(experimentFile, 'utf8');
  const directories: string[] = [];
  for (const [index, run] of runs.entries()) {
    const text = sample
      .replace('"bits": 2', `"bits": ${String(run.bits)}`)
      .replace('"rank": 32', `"rank": ${String(run.rank)}`)
      .replace('"name": "w2-rank32"', `"name": "w${String(run.bits)}-rank${String(run.rank)}"`);
    const { experiment } = parseExperiment(text, experimentFile);
    if (experiment === undefined) throw new Error('the sample has problems');
    const time = Date.UTC(2026, 0, 5, 12, index);
    const { directory } = await createRun({ runsFolder, experiment, experimentFile, now: () => time });
    const paths = runPaths(directory);
    const status = { ...newStatus('finished', 150, time), step: 150, loss: run.trained / 20, ended: time + 60_000 };
    writeFileSync(paths.status, JSON.stringify(status));
    writeFileSync(paths.result, JSON.stringify(resultOf(run)));
    writeFileSync(paths.metrics, metricsOf(run, path.basename(directory), time));
    directories.push(directory);
  }
  return directories;
}

function resultOf({ bits, rank, trained }: FinishedRun): RunResult {
  const perplexity = { float: 49.2, roundToNearest: 49.2 + 90 / 2 ** bits, trained, merged: trained };
  return {
    schema: RESULT_SCHEMA,
    perplexity,
    bitsPerWeight: bits + 0.13,
    modelBytes: 1e6 * (1 + bits),
    float: { bitsPerWeight: 16, modelBytes: 17e6 },
    gapClosed: gapClosed(perplexity),
    peakMemoryBytes: 5e7 + rank * 1e5,
    residentMemoryBytes: 2e8,
    tokensPerSecond: 9000 + rank,
    seconds: 60 + rank,
  };
}

function metricsOf({ trained, rank }: FinishedRun, run: string, time: number): string {
  const events = [
    { type: 'start', schema: EVENT_SCHEMA, time, run, totalSteps: 150 },
    ...Array.from({ length: 150 }, (_, at) => ({
      type: 'step',
      step: at + 1,
      loss: Math.log(trained) + 1 / (1 + at / rank),
      learningRate: { lowRank: 1e-3, scales: 1e-4 },
      gradientNorm: 1,
      tokens: 2048,
      tokensPerSecond: 9000 + rank,
      memory: { engine: 5e7, resident: 1e8 },
      time: time + 300 * at,
    })),
    { type: 'end', state: 'finished', time: time + 60_000 },
  ];
  return events.map((event) => `${JSON.stringify(event)}\n`).join('');
}
