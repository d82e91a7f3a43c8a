// Runs as the store lists them, made up.
import type { ListedRun, RunStatus } from '../../src/runs';
import { newStatus } from '../../src/runs/status-file';

export interface RunOptions extends Partial<Omit<ListedRun, 'kind' | 'status'>> {
  readonly status?: Partial<RunStatus>;
}

export function listedRun(name: string, options: RunOptions = {}): ListedRun {
  const { status, ...rest } = options;
  const state = rest.state ?? 'finished';
  return {
    kind: 'run',
    name,
    directory: `/runs/${name}`,
    state,
    notes: {},
    result: null,
    origin: { experimentFile: '/w/a.lrqat.json', experimentName: 'a' },
    ...rest,
    status: {
      ...newStatus(state === 'crashed' || state === 'stale' ? 'running' : state, 100, 1_000),
      step: 50,
      ...status,
    },
  };
}
