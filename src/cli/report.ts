// What a run has come to, as text.
import { showNumber } from '../compare';
import { formatBytes, formatCount, formatSeconds } from '../experiment';
import { effectiveEvents, type FourPerplexities, type MetricsEvent, type RunResult, type RunStatus } from '../runs';
import { renderTable, type Column } from './table';
import type { Terminal } from './terminal';

const FORMS: readonly { readonly key: keyof FourPerplexities; readonly label: string }[] = [
  { key: 'float', label: 'float' },
  { key: 'roundToNearest', label: 'round-to-nearest' },
  { key: 'trained', label: 'trained' },
  { key: 'merged', label: 'merged' },
];

/** The four-way table: perplexity by evaluation kind, bits a weight, size. */
export function resultTable(result: RunResult, terminal: Terminal): string[] {
  const kinds = Object.entries(result.evaluations ?? { '': result.perplexity });
  const columns: Column[] = [
    { title: 'weights' },
    ...kinds.map(([kind]): Column => ({
      title: kinds.length > 1 ? `${kind} perplexity` : 'perplexity',
      align: 'right',
    })),
    { title: 'bits per weight', align: 'right' },
    { title: 'size', align: 'right' },
  ];
  const rows = FORMS.map(({ key, label }) => {
    const size = key === 'float' ? result.float : result;
    return [
      label,
      ...kinds.map(([, perplexities]) => showNumber(perplexities[key], 'perplexity')),
      showNumber(size?.bitsPerWeight, 'bits'),
      showNumber(size?.modelBytes, 'bytes'),
    ];
  });
  return renderTable(columns, rows, { width: terminal.width(), header: (text) => terminal.paint('bold', text) });
}

/** The table and what it took. */
export function resultReport(result: RunResult, status: RunStatus, terminal: Terminal): string[] {
  const gap =
    result.gapClosed === null
      ? []
      : [`training closed ${showNumber(result.gapClosed, 'share')} of the gap from round-to-nearest to float`];
  const work = [
    ...(status.step > 0 ? [`${String(status.step)} steps`] : []),
    formatSeconds(result.seconds),
    ...(result.tokensPerSecond > 0 ? [`${formatCount(result.tokensPerSecond)} tok/s`] : []),
    `engine memory ${formatBytes(result.peakMemoryBytes)}`,
    `process ${formatBytes(result.residentMemoryBytes)}`,
  ];
  return [...resultTable(result, terminal), '', ...gap, work.join(', ')];
}

/** Evaluations of a run so far, one line an evaluated step. */
export function evaluationTable(events: readonly MetricsEvent[], terminal: Terminal): string[] {
  const evaluations = effectiveEvents(events).filter((event) => event.type === 'eval');
  if (evaluations.length === 0) return [];
  const columns: Column[] = [
    { title: 'step', align: 'right' },
    { title: 'kind' },
    { title: 'weights' },
    { title: 'perplexity', align: 'right' },
    { title: 'loss', align: 'right' },
  ];
  const rows = evaluations.map((event) => [
    String(event.step),
    event.kind,
    event.form,
    showNumber(event.perplexity, 'perplexity'),
    showNumber(event.loss, 'nats'),
  ]);
  return renderTable(columns, rows, { width: terminal.width(), header: (text) => terminal.paint('bold', text) });
}
