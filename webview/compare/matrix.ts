// From a comparison to the cells of the grid: what stands in which, whichever way the table is turned.
import {
  sameValue,
  showDelta,
  showJson,
  showNumber,
  type Comparison,
  type ConfigRow,
  type MetricRow,
} from '../../src/compare';

/** A line of the comparison: what is asked of every run. */
export type FieldRow =
  | { readonly kind: 'state'; readonly key: 'state' }
  | { readonly kind: 'metric'; readonly key: string; readonly row: MetricRow }
  | { readonly kind: 'setting'; readonly key: string; readonly row: ConfigRow; readonly differs: boolean };

export interface FieldGroup {
  readonly id: 'metrics' | 'different' | 'identical';
  readonly fields: readonly FieldRow[];
}

export function fieldGroups(comparison: Comparison, withState: boolean): FieldGroup[] {
  const settings = (rows: readonly ConfigRow[], differs: boolean): FieldRow[] =>
    rows.map((row) => ({ kind: 'setting', key: row.key, row, differs }));
  return [
    {
      id: 'metrics',
      fields: [
        ...(withState ? [{ kind: 'state', key: 'state' } as const] : []),
        ...comparison.metrics.map((row): FieldRow => ({ kind: 'metric', key: row.key, row })),
      ],
    },
    { id: 'different', fields: settings(comparison.configuration, true) },
    { id: 'identical', fields: settings(comparison.identical, false) },
  ];
}

export interface Value {
  readonly text: string;
  readonly delta: string | null;
  readonly best: boolean;
  /** What the difference from the baseline is worth. */
  readonly verdict: 'better' | 'worse' | null;
  /** Not what the baseline has. */
  readonly differs: boolean;
}

/** Of a metric or a setting, for the run at an index. */
export function valueOf(field: Exclude<FieldRow, { kind: 'state' }>, run: number, baseline: number): Value {
  if (field.kind === 'setting') {
    const value = field.row.values[run];
    const differs = field.differs && !sameValue(value, field.row.values[baseline]);
    return { text: showJson(value), delta: null, best: false, verdict: null, differs };
  }
  const { row } = field;
  const delta = row.deltas[run] ?? null;
  return {
    text: showNumber(row.values[run], row.unit),
    delta: showDelta(row, delta),
    best: row.best[run] === true,
    verdict:
      delta === null || delta === 0 || row.better === 'neither'
        ? null
        : delta < 0 === (row.better === 'lower')
          ? 'better'
          : 'worse',
    differs: false,
  };
}
