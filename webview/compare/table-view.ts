// The comparison as a grid: runs as columns or as rows.
import { element } from '../shared/dom';
import { icon } from '../shared/icons';
import { stateName } from '../shared/run-state';
import type { Comparison, Sort } from '../../src/compare';
import { Grid, type CellView, type GridModel, type Lane } from './grid';
import { fieldGroups, valueOf, type FieldGroup, type FieldRow } from './matrix';
import type { Layout, Run } from './protocol';
import { text } from './strings';

export interface TableHost {
  readonly onSort: (key: string) => void;
  readonly onBaseline: (run: string) => void;
  readonly onPin: (run: string) => void;
  readonly onRemove: (run: string) => void;
}

export interface TableContent {
  /** In the order of the comparison's. */
  readonly runs: readonly Run[];
  readonly comparison: Comparison;
  readonly layout: Layout;
  readonly sort: Sort | null;
  readonly pinned: ReadonlySet<string>;
  readonly narrow: boolean;
}

const HEADER = 58;

export class TableView {
  private readonly grid = new Grid();
  readonly root = this.grid.root;

  constructor(private readonly host: TableHost) {}

  render(content: TableContent): void {
    this.grid.render(content.layout === 'columns' ? this.runsAsColumns(content) : this.runsAsRows(content));
  }

  private runsAsColumns(content: TableContent): GridModel {
    const { runs, comparison, narrow } = content;
    const groups = fieldGroups(comparison, false);
    const lines = groups.flatMap((group): (FieldRow | FieldGroup)[] =>
      group.fields.length === 0 && group.id !== 'different' ? [] : [group, ...group.fields],
    );
    const isGroup = (line: FieldRow | FieldGroup): line is FieldGroup => 'fields' in line;
    return {
      label: text.tableLabel(),
      rows: lines.map((line): Lane =>
        isGroup(line) ? { id: `group ${line.id}`, size: 30, heading: groupTitle(line) } : { id: line.key, size: 26 },
      ),
      columns: runs.map(({ id }) => ({ id, size: narrow ? 140 : 176 })),
      headerHeight: HEADER,
      stubWidth: narrow ? 150 : 250,
      corner: {
        key: 'corner',
        className: 'cell corner',
        make: () => [text.metric()].map((each) => document.createTextNode(each)),
      },
      columnHeader: (column) => this.runHeader(content, column),
      rowHeader: (row) => {
        const line = lines[row];
        if (line === undefined) return NOTHING;
        if (isGroup(line)) return headingCell(groupTitle(line));
        return this.fieldHeader(line, content);
      },
      cell: (row, column) => {
        const line = lines[row];
        return line === undefined || isGroup(line) ? NOTHING : valueCell(line, column, content);
      },
    };
  }

  private runsAsRows(content: TableContent): GridModel {
    const { runs, comparison, narrow } = content;
    const fields = fieldGroups(comparison, false).flatMap((group) => group.fields);
    return {
      label: text.tableLabel(),
      rows: runs.map(({ id }) => ({ id, size: 46 })),
      columns: fields.map((field) => ({ id: field.key, size: widthOf(field) })),
      headerHeight: HEADER,
      stubWidth: narrow ? 170 : 240,
      corner: this.sortable('name', text.run(), content, 'cell corner'),
      columnHeader: (column) => {
        const field = fields[column];
        return field === undefined ? NOTHING : this.fieldHeader(field, content);
      },
      rowHeader: (row) => this.runHeader(content, row),
      cell: (row, column) => {
        const field = fields[column];
        return field === undefined ? NOTHING : valueCell(field, row, content);
      },
    };
  }

  private runHeader({ runs, comparison, pinned }: TableContent, index: number): CellView {
    const run = runs[index];
    if (run === undefined) return NOTHING;
    const title = comparison.runs[index]?.title ?? run.title;
    const isBaseline = index === comparison.baseline;
    const isPinned = pinned.has(run.id);
    const short = run.title === run.name ? run.experiment : run.title;
    return {
      key: JSON.stringify([
        title,
        short,
        run.label,
        run.state,
        Math.floor(run.done * 100),
        run.problem,
        isBaseline,
        isPinned,
      ]),
      className: `cell run-head${isBaseline ? ' baseline' : ''}`,
      make: () => [
        element('span', { class: 'run-title', title }, short),
        element(
          'span',
          { class: 'run-line' },
          element('span', { class: 'run-when', title: run.name }, run.label),
          element(
            'span',
            { class: 'state small', 'data-state': run.state, title: run.problem ?? stateName(run.state) },
            run.problem === null ? stateText(run) : text.unreadable(),
          ),
        ),
        element(
          'span',
          { class: 'run-tools' },
          this.tool('flag', text.setBaseline(title), isBaseline, () => this.host.onBaseline(run.id)),
          this.tool('pin', isPinned ? text.unpin(title) : text.pin(title), isPinned, () => this.host.onPin(run.id)),
          this.tool('close', text.remove(title), null, () => this.host.onRemove(run.id)),
          isBaseline ? element('span', { class: 'badge' }, text.baseline()) : null,
        ),
      ],
    };
  }

  private tool(
    shape: Parameters<typeof icon>[0],
    label: string,
    pressed: boolean | null,
    onClick: () => void,
  ): HTMLElement {
    const made = element(
      'button',
      {
        class: 'tool',
        type: 'button',
        title: label,
        'aria-label': label,
        'aria-pressed': pressed === null ? null : String(pressed),
        'data-widget': shape,
        tabindex: -1,
      },
      icon(shape),
    );
    made.addEventListener('click', onClick);
    return made;
  }

  private fieldHeader(field: FieldRow, content: TableContent): CellView {
    const label = field.kind === 'metric' ? field.row.label : field.key;
    const kind = field.kind === 'setting' ? (field.differs ? 'setting' : 'setting same') : 'metric';
    return this.sortable(field.key, label, content, `cell field-head ${kind}`);
  }

  private sortable(key: string, label: string, { sort, layout }: TableContent, className: string): CellView {
    const order = sort?.key !== key ? 'none' : sort.descending ? 'descending' : 'ascending';
    const dot = label.includes(' ') ? -1 : label.lastIndexOf('.');
    return {
      key: JSON.stringify([label, order, layout]),
      className,
      sort: order,
      make: () => {
        const made = element(
          'button',
          {
            class: 'sort',
            type: 'button',
            title: `${label}\n${text.sortBy(label)}`,
            'data-widget': 'sort',
            tabindex: -1,
          },
          dot < 0 ? null : element('span', { class: 'prefix' }, label.slice(0, dot + 1)),
          element('span', { class: 'name' }, label.slice(dot + 1)),
          order === 'none' ? null : icon(order === 'ascending' ? 'up' : 'down'),
        );
        made.addEventListener('click', () => this.host.onSort(key));
        return [made];
      },
    };
  }
}

const NOTHING: CellView = { key: '', className: 'cell', make: () => [] };

function headingCell(title: string): CellView {
  return {
    key: title,
    className: 'cell heading-text',
    make: () => [element('span', { class: 'heading-label' }, title)],
  };
}

function groupTitle({ id, fields }: FieldGroup): string {
  switch (id) {
    case 'metrics':
      return text.metrics();
    case 'different':
      return fields.length === 0 ? text.noDifference() : text.different();
    case 'identical':
      return text.identical(fields.length);
  }
}

function valueCell(field: FieldRow, index: number, { runs, comparison }: TableContent): CellView {
  if (field.kind === 'state') {
    const state = runs[index]?.state ?? 'stopped';
    return { key: state, className: 'cell', make: () => [document.createTextNode(stateName(state))] };
  }
  const value = valueOf(field, index, comparison.baseline);
  const classes = ['cell', field.kind === 'metric' ? 'value metric' : 'value setting'];
  if (value.best) classes.push('best');
  if (value.differs) classes.push('differs');
  if (field.kind === 'setting' && !field.differs) classes.push('same');
  return {
    key: JSON.stringify([value.text, value.delta, value.best, value.verdict]),
    className: classes.join(' '),
    make: () => {
      const delta =
        value.delta === null ? null : element('span', { class: 'delta', 'data-verdict': value.verdict }, value.delta);
      if (delta !== null && value.verdict !== null) {
        delta.append(
          element(
            'span',
            { class: 'visually-hidden' },
            ` ${value.verdict === 'better' ? text.better() : text.worse()}`,
          ),
        );
      }
      const shown = element(
        'span',
        { class: 'shown', title: field.kind === 'setting' ? value.text : null },
        value.text,
      );
      if (value.best) shown.append(element('span', { class: 'visually-hidden' }, ` (${text.best()})`));
      return delta === null ? [shown] : [shown, delta];
    },
  };
}

function stateText({ state, done }: Run): string {
  const isUnderWay = state === 'running' || state === 'paused' || state === 'stopping';
  return isUnderWay ? `${stateName(state)} ${text.percentDone(Math.floor(done * 100))}` : stateName(state);
}

function widthOf(field: FieldRow): number {
  const label = field.kind === 'metric' ? field.row.label : (field.key.split('.').at(-1) ?? field.key);
  const longest =
    field.kind === 'setting'
      ? Math.max(
          ...field.row.values.map((value) =>
            typeof value === 'object' ? JSON.stringify(value).length : String(value).length,
          ),
        )
      : 10;
  return Math.max(104, Math.min(220, 24 + 7.5 * Math.max(label.length, longest)));
}
