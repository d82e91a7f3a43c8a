// lrqat export RUN [--format F --out PATH]
import path from 'node:path';
import { formatBytes, formatSeconds } from '../../experiment';
import { findRun } from '../../runs';
import { UserError } from '../../errors';
import type { Exported, FormatOffer } from '../../trainer/export/export-run';
import type { ExportFormat } from '../../trainer/export/formats';
import { describeChange, type PerplexityChange } from '../../trainer/export/perplexity-change';
import { runsFolderOf, shortPath, type Context, type RunsOption } from '../context';
import { renderTable } from '../table';
import { workHere } from '../work-here';

export interface ExportCommandOptions extends RunsOption {
  readonly format?: ExportFormat;
  readonly out?: string;
  readonly checkpoint?: number;
  readonly type?: string;
  readonly floatType?: 'F32' | 'F16' | 'BF16';
  readonly maxShardSize?: number;
  readonly force?: boolean;
  /** commander's form of --no-measure. */
  readonly measure: boolean;
  readonly measureOnly?: boolean;
  readonly json?: boolean;
}

export async function exportCommand(run: string, options: ExportCommandOptions, context: Context): Promise<number> {
  const {
    format,
    out,
    json = false,
    force,
    checkpoint,
    type,
    floatType,
    maxShardSize,
    measure,
    measureOnly: only = false,
  } = options;
  const directory = findRun(run, runsFolderOf(context, options));
  if (format !== undefined && out === undefined && !only) {
    throw new UserError('NoOutput', '--out is missing', { hint: 'Say where to: --out FOLDER, or --out FILE.gguf' });
  }
  if (format === undefined && out !== undefined) {
    throw new UserError('NoFormat', '--format is missing', {
      hint: 'Without --format and --out the formats are listed.',
    });
  }
  if (only && (format === undefined || out !== undefined)) {
    throw new UserError('NoFormat', '--measure-only writes nothing: it takes --format and no --out');
  }
  return workHere(context, async ({ signal, progress }) => {
    const onProgress = json
      ? throttled((phase, done, total) => context.output.line(JSON.stringify({ type: 'progress', phase, done, total })))
      : (phase: string, done: number, total: number) => progress.show(phase, done, total);
    const common = { run: directory, signal, onProgress, ...(checkpoint === undefined ? {} : { checkpoint }) };
    // Only here: no other command needs the formats in its process.
    const { exportRun, measureOnly, offerFormats } = await import('../../trainer/export/export-run');
    const onMeasured = (change: PerplexityChange): void => {
      progress.close();
      if (json) context.output.line(JSON.stringify({ type: 'measured', ...change }));
      else context.output.line(measuredLine(change));
    };
    const form = {
      ...(type === undefined ? {} : { type }),
      ...(floatType === undefined ? {} : { floatType }),
    };
    if (only && format !== undefined) {
      const change = await measureOnly({ ...common, ...form, format, onMeasured });
      progress.close();
      if (change !== null) return;
      if (json) context.output.line(JSON.stringify({ type: 'exact' }));
      else context.output.line('exact: perplexity cannot change');
    } else if (format === undefined || out === undefined) {
      const offers = await offerFormats(common);
      progress.close();
      if (json) context.output.line(JSON.stringify({ type: 'formats', formats: offers }));
      else showOffers(offers, context);
    } else {
      const exported = await exportRun({
        ...common,
        format,
        out: path.resolve(context.folder, out),
        measure,
        onMeasured,
        ...form,
        ...(force === undefined ? {} : { force }),
        ...(maxShardSize === undefined ? {} : { shardBytes: maxShardSize }),
      });
      progress.close();
      if (json) context.output.line(JSON.stringify({ type: 'exported', ...exported }));
      else showExported(exported, context);
    }
  });
}

function measuredLine(change: PerplexityChange): string {
  return `perplexity ${describeChange(change)} on ${String(change.tokens)} tokens of the validation text, as trained → as exported`;
}

/** At most ten a second, and the last of every phase. */
function throttled(say: (phase: string, done: number, total: number) => void): typeof say {
  let last = -Infinity;
  return (phase, done, total) => {
    const now = performance.now();
    if (now - last < 100 && done < total) return;
    last = now;
    say(phase, done, total);
  };
}

function showOffers(offers: readonly FormatOffer[], { output }: Context): void {
  const columns = [
    { title: 'format' },
    { title: 'exact' },
    { title: 'linears as' },
    { title: 'size', align: 'right' as const },
    { title: 'loaded by' },
  ];
  const rows = offers.map(({ format, exact, obstacle, stored, bytes, loadedBy }) => [
    format,
    obstacle !== null ? 'impossible' : exact ? 'yes' : 'no',
    stored,
    obstacle === null ? formatBytes(bytes) : '',
    loadedBy,
  ]);
  const header = (text: string): string => output.paint('bold', text);
  for (const line of renderTable(columns, rows, { width: output.width(), header })) output.line(line);
  for (const { format, obstacle, losses, warnings } of offers) {
    for (const text of obstacle === null ? [...losses, ...warnings] : [obstacle]) output.line(`${format}: ${text}`);
  }
}

function showExported(exported: Exported, context: Context): void {
  const { output, messages } = context;
  for (const warning of exported.warnings) messages.line(`warning: ${warning}`);
  for (const { name, bytes, sha256 } of exported.files) output.line(`${sha256}  ${name}  ${formatBytes(bytes)}`);
  output.line(
    exported.exact
      ? 'exact: every weight that a reader decodes is the trained one'
      : `not exact: ${exported.losses.join('; ')}`,
  );
  output.line(
    `${shortPath(context, exported.path)}: ${formatBytes(exported.bytes)} in ${formatSeconds(exported.seconds)}`,
  );
}
