// status.json: the one small file that says where a run stands, replaced atomically by the run's owner.

import type { GpuReading } from './events';

/** States that a trainer writes. */
export type RunState = 'queued' | 'starting' | 'running' | 'paused' | 'stopping' | 'stopped' | 'finished' | 'failed';

/** States that readers show: a dead process cannot write that it is dead.
 *  crashed: the owner was on this host and is gone. stale: the owner is on another host and has given no sign for a minute. */
export type DerivedState = RunState | 'crashed' | 'stale';

export const STATUS_SCHEMA = 1;

/** How often the owner renews `heartbeat`, and after how long without one a run of another host is stale (milliseconds). */
export const HEARTBEAT_INTERVAL = 5_000;
export const STALE_AFTER = 60_000;

/** Why a run has failed, for people (message, hint) and programs (code). */
export interface RunError {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

export type ControlVerb = 'pause' | 'resume' | 'stop' | 'checkpoint';

/** The control that the trainer has last acted on. */
export interface Acknowledgement {
  readonly sequence: number;
  readonly verb: ControlVerb;
  readonly time: number;
}

/** A run's place in the queue of its folder (queue.ts). */
export interface QueuePlace {
  /** What it waits for: `cpu`, `cuda:0`. */
  readonly device: string;
  /** Id of the slot that it holds since it was started from the queue; null while it waits. */
  readonly slot: string | null;
}

export interface RunStatus {
  readonly schema: number;
  readonly state: RunState;
  /** What the trainer is doing within its state, for people (`loading the model`, `evaluating: float`); null: training. */
  readonly phase: string | null;
  /** Progress of the phase, where it can be counted. */
  readonly progress: { readonly done: number; readonly total: number } | null;
  /** Optimiser steps done, of `totalSteps`. */
  readonly step: number;
  readonly totalSteps: number;
  /** Number of trainer processes that have worked on this run. 0: none yet. */
  readonly attempt: number;
  /** Milliseconds since 1970 by the owner's clock. */
  readonly heartbeat: number;
  readonly created: number;
  readonly started: number | null;
  readonly ended: number | null;
  /** Estimated seconds until the last step; null: not known. */
  readonly etaSeconds: number | null;
  /** Of the last step, so that a list of runs needs no metrics. */
  readonly loss: number | null;
  readonly tokensPerSecond: number | null;
  readonly memory: { readonly engine: number; readonly resident: number } | null;
  /** The last reading of the run's GPU. */
  readonly gpu?: GpuReading | null;
  /** Best trained validation perplexity so far. */
  readonly best: { readonly step: number; readonly perplexity: number } | null;
  readonly lastCheckpoint: number | null;
  readonly error: RunError | null;
  readonly acknowledged: Acknowledgement | null;
  /** null: the run was not started from a queue and does not wait in one. */
  readonly queue: QueuePlace | null;
}

/** What a trainer may set; the rest is the writer's. */
export type StatusPatch = Partial<
  Omit<RunStatus, 'schema' | 'heartbeat' | 'created' | 'attempt' | 'acknowledged' | 'queue'>
>;

const ENDED: ReadonlySet<DerivedState> = new Set(['stopped', 'finished', 'failed', 'crashed', 'stale']);

/** No trainer works on the run (any more); a stale one may come back. */
export function isEnded(state: DerivedState): boolean {
  return ENDED.has(state);
}

/** A trainer should be alive: its absence means a crash. */
export function needsOwner(state: RunState): boolean {
  return state === 'starting' || state === 'running' || state === 'paused' || state === 'stopping';
}
