// Reading status.json.
import { readJson } from './json-file';
import { runPaths } from './layout';
import { STATUS_SCHEMA, type QueuePlace, type RunState, type RunStatus } from './status';

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
  if (typeof value !== 'object' || value === null) return null;
  if (!('state' in value) || typeof value.state !== 'string' || !STATES.has(value.state)) return null;
  const status = { ...newStatus('starting', 0, 0), ...value } as RunStatus;
  return { ...status, queue: parsePlace(status.queue) };
}

function parsePlace(value: unknown): QueuePlace | null {
  if (typeof value !== 'object' || value === null) return null;
  const { device, slot } = value as Record<string, unknown>;
  return typeof device === 'string' ? { device, slot: typeof slot === 'string' ? slot : null } : null;
}
