// The queue of a runs folder: runs in state `queued`, in an order, started N at a time a device. There is no process behind it:
// whoever ends a run or looks at the folder starts what there is room for (launch/advance-queue.ts).
import { randomBytes } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';
import { UserError } from '../errors';
import { dequeue, requeue, startQueued } from './lifecycle';
import { listRuns, readSummary, type RunSummary } from './list-runs';
import { readOwner } from './owner';
import { currentProcess, livenessOf } from './process-identity';
import { changeQueueFile, isParallel, MAX_PARALLEL, readQueueFile, withQueueLock, type QueueFile } from './queue-file';
import { moved, orderOf, type Move } from './queue-order';
import { makeSlot, readSlots, removeSlot, type Slot } from './queue-slots';
import { readJson } from './json-file';
import { isEnded } from './status';

export interface Queue {
  readonly parallel: number;
  /** In the order in which they will start. */
  readonly waiting: readonly RunSummary[];
  /** Those at work, whoever has started them. */
  readonly active: readonly RunSummary[];
}

export async function readQueue(runsFolder: string): Promise<Queue> {
  return queueOf(await readQueueFile(runsFolder), await listRuns(runsFolder));
}

/** The queue as it is in a list of all runs. */
export function queueOf({ parallel, order }: QueueFile, runs: readonly RunSummary[]): Queue {
  const queued = new Map(runs.filter(({ state }) => state === 'queued').map((run) => [run.name, run]));
  const waiting = orderOf(order, [...queued.keys()]).flatMap((name) => queued.get(name) ?? []);
  return { parallel, waiting, active: runs.filter(isActive) };
}

/** A trainer works on it, or is about to. */
function isActive({ state }: RunSummary): boolean {
  return state !== 'queued' && !isEnded(state);
}

/** Puts runs that are `queued` already at the end of the order. */
export async function appendToQueue(runsFolder: string, names: readonly string[]): Promise<void> {
  await changeOrder(runsFolder, (order) => [...order.filter((name) => !names.includes(name)), ...names]);
}

/** Queues a run that was stopped, failed or crashed: it goes on from its last checkpoint when its turn has come.
 *  @throws UserError RunNotQueued */
export async function enqueue(directory: string, device: string): Promise<void> {
  const run = readSummary(directory, Date.now());
  const name = path.basename(directory);
  if (run === null || !isEnded(run.state) || run.state === 'finished' || !(await requeue(directory, device))) {
    const why = run === null ? 'no readable run' : run.state;
    throw new UserError(
      'RunNotQueued',
      `${name} is ${why}: only a run that has stopped, failed or crashed can be queued`,
    );
  }
  await appendToQueue(path.dirname(directory), [name]);
}

/** @throws UserError RunNotQueued */
export async function moveInQueue(runsFolder: string, names: readonly string[], to: Move | number): Promise<void> {
  const queued = new Set((await readQueue(runsFolder)).waiting.map(({ name }) => name));
  const missing = names.find((name) => !queued.has(name));
  if (missing !== undefined) throw notQueued(missing);
  await changeOrder(runsFolder, (order) => moved(order, names, to));
}

/** Takes a run out of the queue; it is `stopped` from then on.
 *  @returns false when it does not wait (any more) */
export async function cancelQueued(directory: string): Promise<boolean> {
  return dequeue(directory);
}

export function notQueued(name: string): UserError {
  return new UserError('RunNotQueued', `${name} does not wait in the queue`, { hint: 'See: lrqat queue' });
}

/** @throws UserError BadParallel */
export async function setParallel(runsFolder: string, parallel: number): Promise<void> {
  if (!isParallel(parallel)) {
    throw new UserError('BadParallel', `${String(parallel)} runs at a time: use 1 to ${String(MAX_PARALLEL)}`);
  }
  await withQueueLock(runsFolder, () => changeQueueFile(runsFolder, () => ({ parallel })));
}

async function changeOrder(runsFolder: string, change: (order: readonly string[]) => string[]): Promise<void> {
  await withQueueLock(runsFolder, async () => {
    const queue = await readQueue(runsFolder);
    const names = queue.waiting.map(({ name }) => name);
    await changeQueueFile(runsFolder, () => ({ order: change(names) }));
  });
}

/** A queued run that is this process's to start, and has been marked as `starting`. */
export interface Claim {
  readonly directory: string;
  /** The trainer is told, so that it starts only if this claim still stands. */
  readonly slot: string;
}

/** Takes the next queued run for which there is room; null: none. However many processes ask at a time, each run is given out
 *  once, and never more than there is room for. */
export async function claimNext(runsFolder: string): Promise<Claim | null> {
  const seen = await readQueue(runsFolder);
  const isOrphan = (run: RunSummary): boolean => run.status.state === 'starting' && run.status.queue !== null;
  // Looking costs nothing to others; the lock is for those who have found something.
  if (seen.waiting.length === 0 && !(await listRuns(runsFolder)).some(isOrphan)) return null;
  return withQueueLock(runsFolder, async () => {
    const taken = await liveSlots(runsFolder);
    const { parallel, waiting, active } = await readQueue(runsFolder);
    const others = await devicesOf(active, taken);
    for (const run of waiting) {
      const device = run.status.queue?.device ?? 'cpu';
      const used =
        taken.filter((slot) => slot.device === device).length +
        others.filter((other) => other === null || other === device).length;
      if (used >= parallel) continue;
      const slot = await makeSlot(runsFolder, taken, {
        ...currentProcess(),
        id: randomBytes(8).toString('hex'),
        time: Date.now(),
        device,
        run: run.name,
      });
      // Cancelled or started by hand a moment ago, or in a folder that cannot be written: the others need not wait for it.
      if (!(await startQueued(run.directory, { device, slot: slot.id }).catch(() => false))) {
        await removeSlot(slot);
        continue;
      }
      const order = waiting.map(({ name }) => name).filter((name) => name !== run.name);
      await changeQueueFile(runsFolder, () => ({ order }));
      return { directory: run.directory, slot: slot.id };
    }
    return null;
  });
}

/** The slots of this host whose runs work; the others are removed, and a run whose starter died before there was a trainer goes
 *  back into the queue, to its head. */
async function liveSlots(runsFolder: string): Promise<Slot[]> {
  const live: Slot[] = [];
  for (const slot of await readSlots(runsFolder)) {
    const directory = path.join(runsFolder, slot.run);
    const run = slot.run === '' ? null : readSummary(directory, Date.now());
    const isHolder = run?.status.queue?.slot === slot.id;
    if (run !== null && isHolder && (await wasLeftBehind(run, slot))) {
      const back = await requeue(directory, slot.device, slot.id);
      if (back) await changeQueueFile(runsFolder, ({ order }) => ({ order: [run.name, ...order] }));
      await removeSlot(slot);
    } else if (run !== null && isHolder && isActive(run)) {
      live.push(slot);
    } else {
      await removeSlot(slot);
    }
  }
  return live;
}

async function wasLeftBehind(run: RunSummary, slot: Slot): Promise<boolean> {
  return run.status.state === 'starting' && livenessOf(slot) === 'dead' && (await readOwner(run.directory)) === null;
}

/** Devices of runs that were started on this host without a slot; null: not chosen yet, so it may be any. */
async function devicesOf(active: readonly RunSummary[], slots: readonly Slot[]): Promise<(string | null)[]> {
  const ids = new Set(slots.map(({ id }) => id));
  const devices: (string | null)[] = [];
  for (const run of active) {
    if (ids.has(run.status.queue?.slot ?? '')) continue;
    const owner = await readOwner(run.directory);
    if (owner !== null && owner.host !== os.hostname()) continue;
    devices.push(await deviceOf(run.directory));
  }
  return devices;
}

async function deviceOf(directory: string): Promise<string | null> {
  const choices = await fieldsOf(path.join(directory, 'choices.json'));
  if (choices.device === 'cpu') return 'cpu';
  const gpu = choices.gpu;
  if (typeof gpu === 'object' && gpu !== null && 'index' in gpu) return `cuda:${String(gpu.index)}`;
  const { device } = await fieldsOf(path.join(directory, 'experiment.json'));
  return typeof device === 'string' && /^(cpu|cuda:\d+)$/.test(device) ? device : null;
}

async function fieldsOf(file: string): Promise<Record<string, unknown>> {
  const value = await readJson(file).catch(() => null);
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
