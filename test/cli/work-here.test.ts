// Signals while a command works in its own process.
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { Context } from '../../src/cli/context';
import { terminalFor } from '../../src/cli/terminal';
import { workHere } from '../../src/cli/work-here';

const terminal = terminalFor(process.stderr);
const context: Context = { output: terminal, messages: terminal, stream: process.stdout, folder: '.', command: [] };

/** Work that ends only when it is told to. */
const endless = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('cancelled')), { once: true }));

test('work that ends by itself: 0; its failure is passed on, and nobody listens for signals afterwards', async () => {
  const before = process.listenerCount('SIGINT') + process.listenerCount('SIGTERM');
  assert.equal(await workHere(context, () => Promise.resolve()), 0);
  await assert.rejects(
    workHere(context, () => Promise.reject(new TypeError('broken'))),
    TypeError,
  );
  assert.equal(process.listenerCount('SIGINT') + process.listenerCount('SIGTERM'), before);
});

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  test(`${signal} once lets the work end, and gives ${String(code)}`, async () => {
    const ended = workHere(context, (tools) => endless(tools.signal));
    process.emit(signal, signal);
    assert.equal(await ended, code);
  });

  test(`${signal} twice ends the process at once with ${String(code)}`, async (t: TestContext) => {
    const exit = t.mock.method(process, 'exit', () => undefined as never);
    let end = (): void => undefined;
    const ended = workHere(context, () => new Promise((resolve) => (end = resolve)));
    process.emit(signal, signal);
    assert.equal(exit.mock.callCount(), 0);
    process.emit(signal, signal);
    assert.deepEqual(
      exit.mock.calls.map(({ arguments: given }) => given),
      [[code]],
    );
    end();
    await ended;
  });
}
