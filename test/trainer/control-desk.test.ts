import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ControlMessage, ControlVerb } from '../../src/runs';
import { ControlDesk, StopRequested, type ControlSource } from '../../src/trainer/control-desk';

/** Stands for the control folder: messages are put in by hand, what is answered is kept. */
class Folder implements ControlSource {
  readonly answers: string[] = [];
  readonly status = { state: 'running' } as const;
  private listener: (message: ControlMessage) => void = () => undefined;
  private sequence = 0;

  watchControls(listener: (message: ControlMessage) => void): () => void {
    this.listener = listener;
    return () => (this.listener = () => undefined);
  }
  acknowledge({ sequence, verb }: ControlMessage): Promise<void> {
    this.answers.push(`${String(sequence)} ${verb}`);
    return Promise.resolve();
  }
  update({ state }: { readonly state?: string }): void {
    if (state !== undefined) this.answers.push(state);
  }
  log(): Promise<void> {
    return Promise.resolve();
  }
  send(verb: ControlVerb, save = true): void {
    this.listener({ sequence: ++this.sequence, verb, save, time: 0, from: 'test' });
  }
}

function desk(options: { readonly secondsToNextPoint?: number } = {}) {
  const folder = new Folder();
  const control = new ControlDesk(folder, {
    secondsToNextPoint: () => options.secondsToNextPoint ?? 0,
    patience: 5,
  });
  const engine = { cancelled: 0, cancel: () => engine.cancelled++ };
  control.worksOn(engine);
  return { folder, control, engine };
}

/** Whether a promise has settled once everything that could settle it has run. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  const mark = (): void => void (done = true);
  promise.then(mark, mark);
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  return done;
}

test('without messages a point is passed', async () => {
  const { folder, control } = desk();
  await control.point();
  assert.deepEqual(folder.answers, []);
});

test('a pause rests at the next point until resume, both acknowledged when they are so', async () => {
  const { folder, control, engine } = desk();
  folder.send('pause');
  assert.deepEqual(folder.answers, []);
  const point = control.point();
  assert.equal(await settled(point), false);
  assert.deepEqual(folder.answers, ['paused', '1 pause']);
  folder.send('resume');
  await point;
  assert.deepEqual(folder.answers, ['paused', '1 pause', 'running', '2 resume']);
  assert.equal(engine.cancelled, 0);
});

test('a pause that is taken back before the next point does not rest', async () => {
  const { folder, control } = desk();
  folder.send('pause');
  folder.send('resume');
  await control.point();
  assert.deepEqual(folder.answers, ['1 pause', '2 resume']);
});

test('a pause interrupts a step that would take long, not a short one', () => {
  for (const [secondsToNextPoint, interrupted] of [
    [4, 0],
    [6, 1],
  ] as const) {
    const { folder, engine } = desk({ secondsToNextPoint });
    folder.send('pause');
    assert.equal(engine.cancelled, interrupted);
  }
});

test('a stop interrupts the engine and ends at the next point', async () => {
  const { folder, control, engine } = desk();
  folder.send('stop');
  assert.equal(engine.cancelled, 1);
  assert.equal(control.signal.aborted, true);
  await assert.rejects(control.point(), (error) => error instanceof StopRequested && error.kind === 'save');
  // Only what is done is acknowledged.
  assert.deepEqual(folder.answers, ['stopping']);
  await control.close();
  assert.deepEqual(folder.answers, ['stopping', '1 stop']);
});

test('a stop ends a pause', async () => {
  const { folder, control } = desk();
  folder.send('pause');
  const point = control.point();
  assert.equal(await settled(point), false);
  folder.send('stop', false);
  await assert.rejects(point, (error) => error instanceof StopRequested && error.kind === 'now');
});

test('a second stop can only be more urgent', async () => {
  const { folder, control } = desk();
  folder.send('stop', false);
  folder.send('stop');
  assert.equal(control.stopping, 'now');
  control.stop('save');
  await assert.rejects(control.point(), (error) => error instanceof StopRequested && error.kind === 'now');
});

test('a checkpoint asked for during a pause is written during the pause', async () => {
  const { folder, control } = desk();
  let saved = 0;
  const save = async (): Promise<void> => {
    saved += 1;
    await control.checkpointWritten();
  };
  folder.send('pause');
  const point = control.point(save);
  assert.equal(await settled(point), false);
  folder.send('checkpoint');
  assert.equal(await settled(point), false);
  assert.equal(saved, 1);
  assert.deepEqual(folder.answers, ['paused', '1 pause', '2 checkpoint']);
  folder.send('resume');
  await point;
});

test('a checkpoint asked for while training is left to the loop', async () => {
  const { folder, control, engine } = desk();
  folder.send('checkpoint');
  await control.point();
  assert.equal(control.wantsCheckpoint, true);
  assert.equal(engine.cancelled, 0);
  await control.checkpointWritten();
  assert.equal(control.wantsCheckpoint, false);
  assert.deepEqual(folder.answers, ['1 checkpoint']);
});
