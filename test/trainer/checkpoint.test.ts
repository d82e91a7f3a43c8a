// Checkpoints on a real disk, with numbers of no engine: written whole or not at all, whatever fails.

import assert from 'node:assert/strict';
import { readdirSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import type { ParameterInfo, StateKind } from '../../native/binding/addon';
import { nodeFileSystem, type FileSystem } from '../../src/formats/file-system';
import { checkpointDirectory, latestComplete } from '../../src/runs';
import { newestCheckpoint, restoreCheckpoint, writeCheckpoint, type StateHolder } from '../../src/trainer/checkpoint';
import { removeLeftovers } from '../../src/trainer/leftovers';
import { newProgress, type Progress } from '../../src/trainer/progress';
import { faultyFileSystem, InjectedFault, temporaryFolder } from '../runs/support';
import { dyingFileSystem, Died } from './dying-file-system';

const PARAMETERS: readonly ParameterInfo[] = [
  { linear: 'model.layers.0.mlp.up_proj', kind: 'a', shape: [5, 2] },
  { linear: 'model.layers.0.mlp.up_proj', kind: 'b', shape: [2, 3] },
  { linear: 'model.layers.0.mlp.up_proj', kind: 'scale', shape: [5] },
];

/** Numbers that depend on the step, so that a mixture of two checkpoints is seen. */
class Numbers implements StateHolder {
  readonly values = new Map<string, Float32Array>();
  private updates = 0;

  constructor(step: number) {
    this.updates = step;
    for (const [p, parameter] of PARAMETERS.entries()) {
      for (const [s, state] of (['value', 'moment1', 'moment2'] as const).entries()) {
        const count = parameter.shape.reduce((a, b) => a * b, 1);
        const values = Float32Array.from({ length: count }, (_, i) => Math.fround(step + p / 8 + s / 64 + i / 1024));
        this.values.set(`${parameter.linear}.${parameter.kind}.${state}`, values);
      }
    }
  }
  parameters(): readonly ParameterInfo[] {
    return PARAMETERS;
  }
  readState(linear: string, kind: string, state: StateKind): Promise<Float32Array> {
    return Promise.resolve(this.values.get(`${linear}.${kind}.${state}`)!);
  }
  writeState(linear: string, kind: string, state: StateKind, values: Float32Array): Promise<void> {
    this.values.set(`${linear}.${kind}.${state}`, values);
    return Promise.resolve();
  }
  optimizerStep(): number {
    return this.updates;
  }
  setOptimizerStep(step: number): void {
    this.updates = step;
  }
}

function progressAt(step: number): Progress {
  return { ...newProgress({ position: step * 8 }), step, best: { step, perplexity: 3.5 } };
}

/** By default on a disk that is not waited for. */
async function save(run: string, step: number, fileSystem: FileSystem = dyingFileSystem(Infinity)): Promise<void> {
  await writeCheckpoint(fileSystem, run, new Numbers(step), { baseDigest: 'digest', progress: progressAt(step) });
}

/** Step of the newest checkpoint, every number of which is proven to be of that step. */
async function newestStep(run: string): Promise<number | null> {
  const checkpoint = await newestCheckpoint(run, (message) => assert.fail(message));
  if (checkpoint === null) return null;
  const { progress, optimizerStep, baseDigest } = checkpoint.state;
  const restored = new Numbers(-1);
  await restoreCheckpoint(restored, checkpoint);
  assert.deepEqual(restored.values, new Numbers(progress.step).values);
  assert.equal(restored.optimizerStep(), optimizerStep);
  assert.equal(optimizerStep, progress.step);
  assert.equal(baseDigest, 'digest');
  assert.deepEqual(progress, progressAt(progress.step));
  return progress.step;
}

function names(run: string): string[] {
  return readdirSync(path.join(run, 'checkpoints')).sort();
}

test('what was written is read back', async (context) => {
  const run = temporaryFolder(context);
  assert.equal(await newestStep(run), null);
  await save(run, 4);
  assert.deepEqual(readdirSync(checkpointDirectory(run, 4)).sort(), [
    'DONE',
    'adapter.safetensors',
    'optimizer.safetensors',
    'trainer.json',
  ]);
  assert.equal(await newestStep(run), 4);
  await save(run, 12);
  assert.equal(await newestStep(run), 12);
});

/** Calls of one checkpoint written beside an earlier one. */
async function callsOfOne(run: string): Promise<string[]> {
  await save(run, 1);
  const counting = dyingFileSystem(Infinity);
  await save(run, 2, counting);
  return counting.calls;
}

for (const { code, persistent, partial } of [
  { code: 'EIO', persistent: false, partial: false },
  { code: 'ENOSPC', persistent: true, partial: true },
]) {
  test(`${code} at any call leaves the checkpoint before it, and nothing half-written`, async (context) => {
    const reached = new Set<string>();
    for (let at = 1; ; at++) {
      const run = temporaryFolder(context);
      await save(run, 1);
      const fileSystem = faultyFileSystem({ at, code, persistent, partial });
      const failure: unknown = await save(run, 2, fileSystem).then(
        () => null,
        (error: unknown) => error,
      );
      if (fileSystem.calls.length < at) {
        assert.equal(failure, null);
        break;
      }
      if (failure === null) {
        // A short write that is not followed by an error is an ordinary one.
        assert.ok(partial, `no error though call ${String(at)} failed`);
      } else {
        assert.ok(failure instanceof InjectedFault);
        reached.add(fileSystem.calls[at - 1]!);
      }
      // Only when the last call of all fails is the checkpoint in place by then.
      const inPlace = failure === null || names(run).includes('step-00000002');
      assert.equal(await newestStep(run), inPlace ? 2 : 1, `call ${String(at)}`);
      assert.deepEqual(names(run), inPlace ? ['step-00000001', 'step-00000002'] : ['step-00000001']);
      await save(run, 3);
      assert.equal(await newestStep(run), 3);
    }
    for (const call of ['open wx', 'write', 'datasync', 'mkdir', 'rename', 'syncFolder']) {
      assert.ok(reached.has(call), `${call} never failed: ${[...reached].join()}`);
    }
  });
}

test('death at any call leaves a checkpoint to resume from, and the next attempt clears up', async (context) => {
  const calls = await callsOfOne(temporaryFolder(context));
  assert.ok(calls.length > 30, `${String(calls.length)} calls`);
  const renamed = calls.lastIndexOf('rename') + 1;
  for (let at = 1; at <= calls.length; at++) {
    const run = temporaryFolder(context);
    await save(run, 1);
    await assert.rejects(save(run, 2, dyingFileSystem(at)), Died);
    const expected = at > renamed ? 2 : 1;
    assert.equal(await newestStep(run), expected, `call ${String(at)} of ${String(calls.length)}`);
    assert.equal((await latestComplete(run))?.step, expected);
    await removeLeftovers(nodeFileSystem, run);
    assert.deepEqual(names(run), expected === 1 ? ['step-00000001'] : ['step-00000001', 'step-00000002']);
    await save(run, 2);
    assert.equal(await newestStep(run), 2);
  }
});

test('death while a checkpoint is replaced never leaves a mixture', async (context) => {
  const counting = dyingFileSystem(Infinity);
  const first = temporaryFolder(context);
  await save(first, 1);
  await save(first, 2);
  await save(first, 2, counting);
  for (let at = 1; at <= counting.calls.length; at++) {
    const run = temporaryFolder(context);
    await save(run, 1);
    await save(run, 2);
    await assert.rejects(save(run, 2, dyingFileSystem(at)), Died);
    assert.ok([1, 2].includes((await newestStep(run)) ?? 0));
  }
});

test('a damaged checkpoint is passed over for the one before it', async (context) => {
  const damages: readonly (readonly [RegExp, (directory: string) => void])[] = [
    [
      /adapter\.safetensors has \d+ bytes, \d+ were written/,
      (at) => truncateSync(path.join(at, 'adapter.safetensors'), 40),
    ],
    [/trainer\.json has 2 bytes/, (at) => writeFileSync(path.join(at, 'trainer.json'), '{}')],
    [/DONE cannot be read/, (at) => writeFileSync(path.join(at, 'DONE'), '')],
  ];
  for (const [message, damage] of damages) {
    const run = temporaryFolder(context);
    await save(run, 1);
    await save(run, 2);
    damage(checkpointDirectory(run, 2));
    const heard: string[] = [];
    const found = await newestCheckpoint(run, (text) => heard.push(text));
    assert.equal(found?.state.progress.step, 1);
    assert.equal(heard.length, 1);
    assert.match(heard[0]!, message);
  }
});

test('a checkpoint of another experiment is refused', async (context) => {
  const run = temporaryFolder(context);
  await save(run, 1);
  const checkpoint = await newestCheckpoint(run, (message) => assert.fail(message));
  const other = new Numbers(0);
  other.parameters = () => [{ ...PARAMETERS[0]!, shape: [5, 4] }, PARAMETERS[1]!, PARAMETERS[2]!];
  await assert.rejects(restoreCheckpoint(other, checkpoint!), {
    code: 'DamagedCheckpoint',
    message: /\[5, 2\], expected \[5, 4\]/,
  });
  other.parameters = () => PARAMETERS.slice(0, 2);
  await assert.rejects(restoreCheckpoint(other, checkpoint!), { message: /has 3 tensors, the experiment trains 2/ });
});
