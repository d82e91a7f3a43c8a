import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { createRun, listRuns, readStatus, RESULT_SCHEMA, type RunResult } from '../../src/runs';
import { nodeFileSystem } from '../../src/formats/file-system';
import { experimentNamed, temporaryFolder } from './support';

const result: RunResult = {
  schema: RESULT_SCHEMA,
  perplexity: { float: 10, roundToNearest: 20, trained: 12, merged: 12 },
  bitsPerWeight: 2.1,
  modelBytes: 1e6,
  gapClosed: 0.8,
  peakMemoryBytes: 1e7,
  residentMemoryBytes: 2e7,
  tokensPerSecond: 1e4,
  seconds: 60,
};

test('a thousand runs are listed', { timeout: 120_000 }, async (context) => {
  const runsFolder = path.join(temporaryFolder(context), 'runs');
  const experimentFile = path.join(runsFolder, 'x.lrqat.json');
  const { directory } = await createRun({ runsFolder, experiment: experimentNamed('list'), experimentFile });
  const status = await readStatus(directory);
  for (let index = 1; index < 1000; index++) {
    const copy = `${directory}-${String(index).padStart(4, '0')}`;
    mkdirSync(copy);
    writeFileSync(path.join(copy, 'status.json'), JSON.stringify({ ...status, state: 'finished', step: index }));
    writeFileSync(path.join(copy, 'result.json'), JSON.stringify(result));
    writeFileSync(path.join(copy, 'notes.json'), JSON.stringify({ star: true, tags: ['a', 7] }));
  }
  mkdirSync(path.join(runsFolder, 'not-a-run'));
  writeFileSync(path.join(runsFolder, 'file'), '');
  const start = performance.now();
  const runs = await listRuns(runsFolder);
  // Told, not judged: test machines are busy.
  context.diagnostic(`1000 runs in ${(performance.now() - start).toFixed(0)} ms`);
  assert.equal(runs.length, 1000);
  const second = runs[1];
  assert.ok(second !== undefined);
  assert.equal(second.state, 'finished');
  assert.deepEqual(second.notes, { star: true, tags: ['a'] });
  assert.equal(second.result?.perplexity.trained, 12);
});

test('one damaged run does not hide the others', async (context) => {
  const runsFolder = path.join(temporaryFolder(context), 'runs');
  const experimentFile = path.join(runsFolder, 'x.lrqat.json');
  const options = { runsFolder, experiment: experimentNamed('list'), experimentFile };
  const whole = await createRun(options);
  const damaged = await createRun(options);
  writeFileSync(path.join(damaged.directory, 'status.json'), '{"sta');
  await nodeFileSystem.unlink(path.join(whole.directory, 'provenance.json'));
  assert.deepEqual(
    (await listRuns(runsFolder)).map((run) => run.name),
    [whole.name],
  );
  assert.deepEqual(await listRuns(path.join(runsFolder, 'missing')), []);
});
