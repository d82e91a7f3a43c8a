// What the charts' header shows of a run, from what the explorer knows of it. Pure.
import type { RunInfo } from '../../../webview/charts/protocol';
import type { ListedRun, RunEntry } from '../../runs';
import { runLabel, runTitle } from '../explorer/run-text';
import { l10n } from '../l10n';

export interface RunProgress {
  /** Bytes of a long metrics file; null: all is read. */
  readonly loading: RunInfo['loading'];
  readonly pending: RunInfo['pending'];
  readonly device: string | null;
  /** What the experiment does, in few words. */
  readonly setting: string | null;
}

/** @param entry undefined: there is no such folder (any more)
 *  @param last what was known when there still was one */
export function runInfo(
  id: string,
  directory: string,
  entry: RunEntry | undefined,
  last: ListedRun | null,
  progress: RunProgress,
): RunInfo {
  const known = entry?.kind === 'run' ? entry : last;
  const problem =
    entry === undefined
      ? { message: l10n.t('The run folder is gone: it was deleted or moved.'), hint: directory }
      : entry.kind === 'broken'
        ? { message: l10n.t('The run cannot be read: {0}', entry.reason), hint: directory }
        : null;
  const name = entry === undefined && last === null ? (directory.split(/[\\/]/).at(-1) ?? directory) : null;
  const { status } = known ?? { status: null };
  return {
    id,
    name: name ?? (known === null ? (entry?.name ?? '') : longName(known)),
    experiment: name ?? (known === null ? (entry?.name ?? '') : runTitle(known)),
    state: known?.state ?? 'stopped',
    phase: status?.phase ?? null,
    progress: status?.progress ?? null,
    step: whole(status?.step),
    totalSteps: whole(status?.totalSteps),
    etaSeconds: status?.etaSeconds ?? null,
    device: progress.device,
    setting: progress.setting,
    attempt: whole(status?.attempt),
    created: status?.created ?? 0,
    started: status?.started ?? null,
    ended: status?.ended ?? null,
    heartbeat: status?.heartbeat ?? 0,
    best: status?.best ?? null,
    lastCheckpoint: status?.lastCheckpoint ?? null,
    error: status?.error ? { message: status.error.message, hint: status.error.hint ?? null } : null,
    problem,
    loading: progress.loading,
    pending: progress.pending,
  };
}

/** Experiment and time, or what the user has called the run. */
export function longName(run: ListedRun): string {
  const [title, label] = [runTitle(run), runLabel(run)];
  return title === label ? title : `${title} · ${label}`;
}

/** Counts of a status file that somebody has edited may be anything. */
function whole(value: number | undefined): number {
  return value !== undefined && Number.isInteger(value) && value >= 0 ? value : 0;
}

/** `CPU · AVX-512 · bf16 · 2 threads` or `CUDA · NVIDIA H100 · bf16` from provenance.json's device; null where it does not say. */
export function deviceText(device: unknown): string | null {
  if (typeof device !== 'object' || device === null) return null;
  const fields = device as Record<string, unknown>;
  const text = (key: string): string | null => (typeof fields[key] === 'string' ? fields[key] : null);
  const kind = text('device');
  if (kind === null) return null;
  const { threads, gpu } = fields;
  if (typeof gpu === 'object' && gpu !== null && 'name' in gpu && typeof gpu.name === 'string') {
    return [kind.toUpperCase(), gpu.name, text('compute')].filter((part) => part !== null).join(' · ');
  }
  const parts = [
    kind.toUpperCase(),
    text('isa')?.toUpperCase().replace('AVX512', 'AVX-512'),
    text('compute'),
    typeof threads === 'number' ? l10n.t('{0} threads', threads) : null,
  ];
  return parts.filter((part) => typeof part === 'string' && part !== '').join(' · ');
}
