// A workspace with many finished runs, made from one real run directory.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseExperiment } from '../../src/experiment';
import { createRun, readStatus, RESULT_SCHEMA, type RunResult } from '../../src/runs';

/** @returns the runs folder */
export async function manyRuns(workspace: string, count: number): Promise<string> {
  const runsFolder = path.join(workspace, '.lrqat', 'runs');
  const experimentFile = path.join(workspace, 'w2-rank32.lrqat.json');
  const { experiment } = parseExperiment(readFileSync(experimentFile, 'utf8'), experimentFile);
  if (experiment === undefined) throw new Error('the sample has problems');
  const { directory } = await createRun({ runsFolder, experiment, experimentFile });
  const status = await readStatus(directory);
  for (let index = 1; index < count; index++) {
    const name = `20250101-${String(index).padStart(6, '0')}-w2-rank32`;
    const copy = path.join(runsFolder, name);
    mkdirSync(copy);
    for (const file of ['experiment.json', 'provenance.json'])
      cpSync(path.join(directory, file), path.join(copy, file));
    const finished = { ...status, state: 'finished', step: 150, totalSteps: 150, created: index * 1000 };
    writeFileSync(path.join(copy, 'status.json'), JSON.stringify(finished));
    writeFileSync(path.join(copy, 'result.json'), JSON.stringify(resultOf(50 + (index % 97) / 10)));
  }
  return runsFolder;
}

function resultOf(trained: number): RunResult {
  return {
    schema: RESULT_SCHEMA,
    perplexity: { float: 49, roundToNearest: 71, trained, merged: trained },
    bitsPerWeight: 2.1,
    modelBytes: 2e6,
    gapClosed: (71 - trained) / 22,
    peakMemoryBytes: 1e7,
    residentMemoryBytes: 2e7,
    tokensPerSecond: 1e4,
    seconds: 60,
  };
}
