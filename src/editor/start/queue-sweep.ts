// Start Training of a file with a sweep: says what it comes to, asks, queues.
import { ProgressLocation, window } from 'vscode';
import { UserError } from '../../errors';
import { formatBytes, formatSeconds } from '../../experiment/format-numbers';
import { nameOf } from '../../experiment/parse';
import { queueDevices } from '../../launch/queue-device';
import { queueRuns, type RunToQueue } from '../../runs';
import { l10n } from '../l10n';
import type { Services } from '../services';
import { rounded } from '../validation/lens-text';
import type { SweepAnswer } from '../validation/world-protocol';
import { requireEngine } from './start-run';

/** Names shown in the question. */
const SHOWN = 12;

/** @returns the directory of the first run, or null when the user has thought better of it */
export async function queueSweep(
  file: string,
  runsFolder: string,
  sweep: SweepAnswer,
  services: Services,
): Promise<string | null> {
  requireEngine(services.engine.environment());
  const { runs, plan } = sweep;
  if (plan?.fits === false) {
    throw new UserError(
      'DiskFull',
      l10n.t(
        'The runs write up to {0} together, and {1} are free',
        formatBytes(plan.disk),
        formatBytes(plan.freeDisk ?? 0),
      ),
    );
  }
  const count = runs.length === 1 ? l10n.t('Queue 1 Run') : l10n.t('Queue {0} Runs', runs.length);
  const message =
    runs.length === 1
      ? l10n.t('Queue the run of {0}?', nameOf(file))
      : l10n.t('Queue the {0} runs of {1}?', runs.length, nameOf(file));
  const answer = await window.showInformationMessage(message, { modal: true, detail: sweepDetail(sweep) }, count);
  if (answer !== count) return null;
  return queueAll(file, runsFolder, runs, services);
}

/** Time, disk, names. */
export function sweepDetail({ runs, plan }: SweepAnswer): string {
  const lines: string[] = [];
  if (plan !== null) {
    lines.push(
      plan.seconds === null
        ? l10n.t('How long they take is not foreseen.')
        : l10n.t('About {0} one after the other.', formatSeconds(rounded(plan.seconds))),
    );
    const free = plan.freeDisk === null ? '' : ` ${l10n.t('({0} free)', formatBytes(plan.freeDisk))}`;
    lines.push(`${l10n.t('Up to {0} of disk', formatBytes(plan.disk))}${free}.`);
  }
  const names = runs.slice(0, SHOWN).map(({ experiment }) => experiment.name);
  const more = runs.length > SHOWN ? [l10n.t('and {0} more', runs.length - SHOWN)] : [];
  return [...lines, '', [...names, ...more].join(', ')].join('\n');
}

/** @returns the directory of the first run */
export async function queueAll(
  file: string,
  runsFolder: string,
  runs: readonly RunToQueue[],
  { engine, queue, log, runs: workspaceRuns }: Services,
): Promise<string | null> {
  requireEngine(engine.environment());
  const title = l10n.t('Queueing {0} …', nameOf(file));
  return window.withProgress({ location: ProgressLocation.Window, title }, async () => {
    const created = await queueRuns(runs, {
      runsFolder,
      experimentFile: file,
      command: ['lrqat', 'train', file],
      devicesOf: ({ device }) => queueDevices(device, () => engine.probe()),
    });
    log.info(`queued ${created.map(({ name }) => name).join(', ')}`);
    await queue.applyParallel([runsFolder]);
    try {
      await queue.advance(runsFolder);
    } finally {
      await workspaceRuns.reconcile();
      await queue.refresh();
    }
    return created[0]?.directory ?? null;
  });
}
