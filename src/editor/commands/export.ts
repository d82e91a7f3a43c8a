// Export Model…: the formats with what each would lose, a place, and the export itself in the background.
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { commands, ProgressLocation, ThemeIcon, Uri, window, workspace, type QuickPickItem } from 'vscode';
import { formatBytes } from '../../experiment/format-numbers';
import type { ListedRun } from '../../runs';
import { runTitle } from '../explorer/run-text';
import { l10n } from '../l10n';
import type { Services } from '../services';
import { requireTrust } from '../trust';
import { cliLines } from './cli-lines';
import { parseExported, parseMeasured, parseOffers, type Offer } from './export-lines';
import { pickRuns } from './pick-runs';

export function registerExport(services: Services): void {
  const { context, register } = services;
  context.subscriptions.push(
    register('lrqat.exportModel', async (target) => {
      requireTrust(l10n.t('Export'));
      const options = { title: l10n.t('Export Model') };
      const [run] = await pickRuns(target, undefined, options, services);
      if (run === undefined) return;
      const offer = await pickFormat(run, services);
      if (offer === undefined) return;
      const place = await pickPlace(run, offer);
      const measure = place === undefined || offer.exact ? false : await pickMeasure();
      if (place !== undefined && measure !== undefined) await exportTo(run, offer, place, measure, services);
    }),
  );
}

interface OfferItem extends QuickPickItem {
  readonly offer: Offer;
}

async function pickFormat(run: ListedRun, services: Services): Promise<Offer | undefined> {
  let offers: readonly Offer[] = [];
  const title = l10n.t('Looking what {0} can be exported to …', runTitle(run));
  const finished = await window.withProgress(
    { location: ProgressLocation.Notification, title, cancellable: true },
    async (_, token) =>
      cliLines(
        ['export', run.directory, '--json'],
        (line) => {
          offers = parseOffers(line) ?? offers;
        },
        token,
        services,
      ),
  );
  if (!finished) return undefined;
  const items = offers.filter(({ obstacle }) => obstacle === null).map(offerItem);
  const picked = await window.showQuickPick(items, {
    title: l10n.t('Export {0} as …', runTitle(run)),
    placeHolder: impossibleOnes(offers),
    matchOnDetail: true,
  });
  return picked?.offer;
}

function offerItem(offer: Offer): OfferItem {
  const { format, exact, losses, warnings, bytes, stored, loadedBy } = offer;
  const how = exact ? l10n.t('exact') : l10n.t('not exact');
  return {
    label: format,
    description: [how, stored, formatBytes(bytes), l10n.t('for {0}', loadedBy)].join(' · '),
    detail: [...losses, ...warnings].join('; ') || l10n.t('Every weight that a reader decodes is the trained one.'),
    iconPath: new ThemeIcon(exact ? 'pass' : 'warning'),
    offer,
  };
}

function impossibleOnes(offers: readonly Offer[]): string {
  return offers
    .flatMap(({ format, obstacle }) => (obstacle === null ? [] : [l10n.t('{0} is impossible: {1}', format, obstacle)]))
    .join('; ');
}

interface Place {
  readonly path: string;
  readonly replace: boolean;
}

/** A file for gguf, else a folder that is made. */
async function pickPlace(run: ListedRun, { format }: Offer): Promise<Place | undefined> {
  const folder = workspace.workspaceFolders?.[0]?.uri.fsPath ?? path.dirname(run.directory);
  const isFile = format === 'gguf';
  const name = `${path.basename(run.directory)}${isFile ? '.gguf' : `-${format}`}`;
  const chosen = await window.showSaveDialog({
    title: isFile ? l10n.t('Export to Which File?') : l10n.t('Export to Which New Folder?'),
    saveLabel: l10n.t('Export'),
    defaultUri: Uri.file(path.join(folder, name)),
    ...(isFile ? { filters: { GGUF: ['gguf'] } } : {}),
  });
  if (chosen === undefined) return undefined;
  const place = isFile && !chosen.fsPath.toLowerCase().endsWith('.gguf') ? `${chosen.fsPath}.gguf` : chosen.fsPath;
  if (!existsSync(place)) return { path: place, replace: false };
  // The dialog itself has asked about a file of that very name.
  if (place === chosen.fsPath && statSync(place).isFile()) return { path: place, replace: true };
  const replace = l10n.t('Replace');
  const answer = await window.showWarningMessage(
    l10n.t('{0} exists. Replace it?', path.basename(place)),
    { modal: true, detail: l10n.t('Only files and folders that an export has made are replaced.') },
    replace,
  );
  return answer === replace ? { path: place, replace: true } : undefined;
}

/** Whether to measure what the rounding does; undefined: the export is given up. */
async function pickMeasure(): Promise<boolean | undefined> {
  const measure = { label: l10n.t('Measure the change of perplexity, then export') };
  const picked = await window.showQuickPick([measure, { label: l10n.t('Export without measuring') }], {
    title: l10n.t('This export rounds numbers'),
  });
  return picked === undefined ? undefined : picked === measure;
}

async function exportTo(
  run: ListedRun,
  { format }: Offer,
  place: Place,
  measure: boolean,
  services: Services,
): Promise<void> {
  const args = ['export', run.directory, '--format', format, '--out', place.path, '--json'];
  if (!measure) args.push('--no-measure');
  let change = '';
  let done = 0;
  const said: string[] = [];
  const finished = await window.withProgress(
    {
      location: ProgressLocation.Notification,
      title: l10n.t('Exporting {0} as {1}', runTitle(run), format),
      cancellable: true,
    },
    async (progress, token) =>
      cliLines(
        place.replace ? [...args, '--force'] : args,
        (line) => {
          const measured = parseMeasured(line);
          if (measured !== null) {
            const [before, after] = measured.map((value) => value.toFixed(4));
            change = l10n.t('perplexity {0} → {1}', before ?? '', after ?? '');
            progress.report({ message: change });
            return;
          }
          const exported = parseExported(line);
          if (exported !== null) {
            said.push(
              exported.exact
                ? l10n.t('{0} exported, {1}, exact.', path.basename(place.path), formatBytes(exported.bytes))
                : l10n.t(
                    '{0} exported, {1}. Not exact: {2}.',
                    path.basename(place.path),
                    formatBytes(exported.bytes),
                    [...exported.losses, ...(change === '' ? [] : [change])].join('; '),
                  ),
            );
            return;
          }
          const { phase, done: count, total } = line;
          if (typeof phase !== 'string' || typeof count !== 'number' || typeof total !== 'number' || total <= 0) return;
          const percent = phase === 'writing' ? (100 * count) / total : 0;
          progress.report({
            message: [phase, change].filter(Boolean).join(', '),
            increment: Math.max(0, percent - done),
          });
          done = Math.max(done, percent);
        },
        token,
        services,
      ),
  );
  const [summary] = said;
  if (!finished || summary === undefined) return;
  services.walkthrough.happened('export');
  const reveal = l10n.t('Show in Folder');
  const answer = await window.showInformationMessage(summary, reveal);
  if (answer === reveal) await commands.executeCommand('revealFileInOS', Uri.file(place.path));
}
