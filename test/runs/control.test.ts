import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import {
  createRun,
  readStatus,
  RunWriter,
  sendControl,
  waitForAcknowledgement,
  type ControlMessage,
} from '../../src/runs';
import { experimentNamed, temporaryFolder } from './support';

/** The next `count` messages that the trainer hears, and whatever came with them. */
function hear(writer: RunWriter, count: number): Promise<ControlMessage[]> {
  return new Promise((resolve) => {
    const heard: ControlMessage[] = [];
    // The watch does not keep the process alive.
    const keepAlive = setInterval(() => undefined, 1_000);
    const unwatch = writer.watchControls((message) => {
      heard.push(message);
      if (heard.length < count) return;
      unwatch();
      clearInterval(keepAlive);
      resolve(heard);
    });
  });
}

test(
  'messages of many senders at once get different numbers and arrive once each, in order',
  { timeout: 120_000 },
  async (context) => {
    const folder = temporaryFolder(context);
    const experimentFile = path.join(folder, 'x.lrqat.json');
    const { directory } = await createRun({
      runsFolder: folder,
      experiment: experimentNamed('control'),
      experimentFile,
    });
    const verbs = ['pause', 'resume', 'checkpoint', 'stop'] as const;
    const sent = await Promise.all(Array.from({ length: 20 }, (_, index) => sendControl(directory, verbs[index % 4]!)));
    assert.deepEqual(
      [...sent].sort((a, b) => a - b),
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
    const writer = await RunWriter.open(directory);
    const messages = await hear(writer, 20);
    const last = await sendControl(directory, 'stop');
    assert.deepEqual(
      [...messages, ...(await hear(writer, 1))].map((message) => message.sequence),
      Array.from({ length: 21 }, (_, index) => index + 1),
    );
    assert.equal(last, 21);
    await writer.end('stopped');
  },
);

test(
  'an acknowledged message is not given to the next attempt; one that came before the trainer is',
  { timeout: 120_000 },
  async (context) => {
    const folder = temporaryFolder(context);
    const experimentFile = path.join(folder, 'x.lrqat.json');
    const { directory } = await createRun({
      runsFolder: folder,
      experiment: experimentNamed('control'),
      experimentFile,
    });
    const sequence = await sendControl(directory, 'stop', { save: false });
    assert.equal(await waitForAcknowledgement(directory, sequence, 0), false);
    let writer = await RunWriter.open(directory);
    const [message] = await hear(writer, 1);
    assert.ok(message !== undefined);
    assert.equal(message.verb, 'stop');
    assert.equal(message.save, false);
    await writer.acknowledge(message);
    assert.ok(await waitForAcknowledgement(directory, sequence, 1000));
    await writer.end('stopped');
    writer = await RunWriter.open(directory);
    const next = await sendControl(directory, 'pause');
    assert.equal(next > sequence, true);
    assert.deepEqual(
      (await hear(writer, 1)).map(({ sequence: number, verb }) => [number, verb]),
      [[next, 'pause']],
    );
    await writer.end('stopped');
    assert.equal((await readStatus(directory))?.acknowledged?.verb, 'stop');
  },
);

test('a file made by hand works, foreign files do not disturb', { timeout: 120_000 }, async (context) => {
  const folder = temporaryFolder(context);
  const experimentFile = path.join(folder, 'x.lrqat.json');
  const { directory } = await createRun({ runsFolder: folder, experiment: experimentNamed('control'), experimentFile });
  const writer = await RunWriter.open(directory);
  const control = path.join(directory, 'control');
  writeFileSync(path.join(control, 'notes.txt'), 'hello');
  mkdirSync(path.join(control, '00000009-stop.json.d'));
  const heard = hear(writer, 1);
  writeFileSync(path.join(control, '00000007-pause.json'), '');
  assert.deepEqual(
    (await heard).map(({ sequence, verb, save }) => ({ sequence, verb, save })),
    [{ sequence: 7, verb: 'pause', save: true }],
  );
  await writer.end('stopped');
});
