// Finished runs for windows to show: real recorded curves in run directories made by the product's own code.
import { appendFileSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseExperiment } from '../../src/experiment';
import { createRun, readStatus, runPaths } from '../../src/runs';

const RECORDED = path.resolve('test/webview/browser/runs');

/** A stopped run of the workspace's sample with the curves of `recorded` and two checkpoints.
 *  @param bytes of each checkpoint
 *  @returns the run directory */
export async function recordedRun(
  workspace: string,
  recorded: 'w2-rank32' | 'w2-rank8',
  bytes = 1_500_000,
): Promise<string> {
  const experimentFile = path.join(workspace, 'w2-rank32.lrqat.json');
  const { experiment } = parseExperiment(readFileSync(experimentFile, 'utf8'), experimentFile);
  if (experiment === undefined) throw new Error('the sample has problems');
  const runsFolder = path.join(workspace, '.lrqat', 'runs');
  const { directory } = await createRun({ runsFolder, experiment: { ...experiment, name: recorded }, experimentFile });
  const paths = runPaths(directory);
  for (const file of ['metrics.jsonl', 'layers.jsonl']) {
    copyFileSync(path.join(RECORDED, recorded, file), path.join(directory, file));
  }
  appendFileSync(paths.log, 'recorded\n');
  for (const step of [50, 100]) {
    const folder = path.join(paths.checkpoints, `step-${String(step).padStart(8, '0')}`);
    mkdirSync(folder);
    writeFileSync(path.join(folder, 'adapter.safetensors'), Buffer.alloc(bytes));
    writeFileSync(path.join(folder, 'trainer.json'), '{}');
    writeFileSync(path.join(folder, 'DONE'), '');
  }
  const status = {
    ...(await readStatus(directory)),
    state: 'stopped',
    step: 120,
    totalSteps: 150,
    lastCheckpoint: 100,
  };
  writeFileSync(paths.status, JSON.stringify(status));
  return directory;
}
