// Reading status.json.
import type { GpuReading } from './events';
import { isRecord } from './is-record';
import { readJson } from './json-file';
import { runPaths } from './layout';
import {
  STATUS_SCHEMA,
  type Acknowledgement,
  type ControlVerb,
  type QueuePlace,
  type RunError,
  type RunState,
  type RunStatus,
} from './status';

const STATES: ReadonlySet<string> = new Set<RunState>([
  'queued',
  'starting',
  'running',
  'paused',
  'stopping',
  'stopped',
  'finished',
  'failed',
]);

/** A run that nobody has begun to train. */
export function newStatus(state: RunState, totalSteps: number, now: number): RunStatus {
  return {
    schema: STATUS_SCHEMA,
    state,
    phase: null,
    progress: null,
    step: 0,
    totalSteps,
    attempt: 0,
    heartbeat: now,
    created: now,
    started: null,
    ended: null,
    etaSeconds: null,
    loss: null,
    tokensPerSecond: null,
    memory: null,
    best: null,
    lastCheckpoint: null,
    error: null,
    acknowledged: null,
    queue: null,
  };
}

/** null: no status.json, so not a run directory (yet). */
export async function readStatus(runDirectory: string): Promise<RunStatus | null> {
  const value = await readJson(runPaths(runDirectory).status);
  return value === undefined ? null : parseStatus(value);
}

/** Fields a later version does not write, or that are damaged, take the value they have in a new run. */
export function parseStatus(value: unknown): RunStatus | null {
  if (!isRecord(value) || typeof value.state !== 'string' || !STATES.has(value.state)) return null;
  const fresh = newStatus(value.state as RunState, 0, 0);
  const count = (key: 'schema' | 'step' | 'totalSteps' | 'attempt' | 'heartbeat' | 'created'): number =>
    number(value[key]) ?? fresh[key];
  return {
    ...(value as object),
    schema: count('schema'),
    state: fresh.state,
    phase: text(value.phase),
    progress: numbers(value.progress, ['done', 'total']),
    step: count('step'),
    totalSteps: count('totalSteps'),
    attempt: count('attempt'),
    heartbeat: count('heartbeat'),
    created: count('created'),
    started: number(value.started),
    ended: number(value.ended),
    etaSeconds: number(value.etaSeconds),
    loss: number(value.loss),
    tokensPerSecond: number(value.tokensPerSecond),
    memory: numbers(value.memory, ['engine', 'resident']),
    ...(value.gpu === undefined ? {} : { gpu: parseGpu(value.gpu) }),
    best: numbers(value.best, ['step', 'perplexity']),
    lastCheckpoint: number(value.lastCheckpoint),
    error: parseError(value.error),
    acknowledged: parseAcknowledged(value.acknowledged),
    queue: parsePlace(value.queue),
  };
}

const number = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) ? value : null);
const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);

/** An object of numbers, whatever else it holds; null unless all of `keys` are there. */
function numbers<Key extends string>(value: unknown, keys: readonly Key[]): Record<Key, number> | null {
  return isRecord(value) && keys.every((key) => number(value[key]) !== null) ? (value as Record<Key, number>) : null;
}

function parseGpu(value: unknown): GpuReading | null {
  if (!isRecord(value)) return null;
  return {
    utilization: number(value.utilization),
    watts: number(value.watts),
    celsius: number(value.celsius),
    memoryUsed: number(value.memoryUsed),
  };
}

const VERBS: ReadonlySet<unknown> = new Set<ControlVerb>(['pause', 'resume', 'stop', 'checkpoint']);

function parseAcknowledged(value: unknown): Acknowledgement | null {
  const counted = numbers(value, ['sequence', 'time']);
  return counted !== null && VERBS.has((value as Acknowledgement).verb) ? (value as Acknowledgement) : null;
}

function parseError(value: unknown): RunError | null {
  if (!isRecord(value) || typeof value.message !== 'string') return null;
  const hint = text(value.hint);
  return { code: text(value.code) ?? 'Unknown', message: value.message, ...(hint === null ? {} : { hint }) };
}

function parsePlace(value: unknown): QueuePlace | null {
  if (!isRecord(value)) return null;
  const { device, slot } = value;
  return typeof device === 'string' ? { device, slot: typeof slot === 'string' ? slot : null } : null;
}
