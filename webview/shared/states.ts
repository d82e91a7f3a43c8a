// States of a run as messages carry them.
import type { DerivedState } from '../../src/runs/status';

export const STATES = [
  'queued',
  'starting',
  'running',
  'paused',
  'stopping',
  'stopped',
  'finished',
  'failed',
  'crashed',
  'stale',
] as const satisfies readonly DerivedState[];
