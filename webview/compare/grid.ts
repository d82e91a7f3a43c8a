// A table of any size of which only what is in view exists: a thousand cells whatever the number of runs. The header stays at the
// top and the first column at the left. Semantics and keys are those of the ARIA grid: one tab stop, arrows from cell to cell.
import { element, setAttributes } from '../shared/dom';

/** A row or a column. */
export interface Lane {
  readonly id: string;
  /** Pixels. */
  readonly size: number;
  /** A heading over the rows below it in place of cells. */
  readonly heading?: string;
}

/** What a cell shows. Two cells with the same key look the same, so that what has not changed is not made again. */
export interface CellView {
  readonly key: string;
  readonly className: string;
  readonly make: () => readonly Node[];
  /** For header cells. */
  readonly sort?: 'ascending' | 'descending' | 'none';
}

export interface GridModel {
  readonly label: string;
  readonly rows: readonly Lane[];
  readonly columns: readonly Lane[];
  readonly headerHeight: number;
  readonly stubWidth: number;
  readonly corner: CellView;
  readonly columnHeader: (column: number) => CellView;
  readonly rowHeader: (row: number) => CellView;
  readonly cell: (row: number, column: number) => CellView;
}

/** Cells beyond the view that exist as well, and the step in which the range moves: not at every pixel of scrolling. */
const AHEAD_ROWS = 6;
const AHEAD_COLUMNS = 3;
/** Milliseconds after which they follow what is in view, when all has changed. */
const FILL_DELAY = 120;

/** Both borders and a scroll bar, in pixels. */
const BORDERS = 14;

interface Window {
  readonly firstRow: number;
  readonly endRow: number;
  readonly firstColumn: number;
  readonly endColumn: number;
}

/** Scrolled so far, and how much is seen; pixels. */
interface View {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

function viewOf({ scrollTop, scrollLeft, clientHeight, clientWidth }: HTMLElement): View {
  return { top: scrollTop, left: scrollLeft, height: clientHeight, width: clientWidth };
}

/** A cell by the ids of its lanes, which stay what they are when rows are sorted. '' is the header row, the first column. */
interface Place {
  readonly row: string;
  readonly column: string;
}

export class Grid {
  readonly root = element('div', { class: 'grid-scroller', role: 'grid', tabindex: 0 });
  private readonly head = element('div', { class: 'grid-head', role: 'row', 'aria-rowindex': 1 });
  private readonly body = element('div', { class: 'grid-body', role: 'rowgroup' });
  private model: GridModel | null = null;
  private rowOffsets: readonly number[] = [0];
  private columnOffsets: readonly number[] = [0];
  private shown: Window = { firstRow: 0, endRow: 0, firstColumn: 0, endColumn: 0 };
  private cells = new Map<string, { readonly element: HTMLElement; readonly key: string }>();
  private rowElements = new Map<string, HTMLElement>();
  private active: Place = { row: '', column: '' };
  private scheduled = false;
  /** What is in view; null: to be asked of the browser, which in the midst of drawing would lay out the page twice. */
  private view: View | null = null;
  private fillTimer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.root.append(element('div', { class: 'grid-top', role: 'rowgroup' }, this.head), this.body);
    this.root.addEventListener(
      'scroll',
      () => {
        this.view = null;
        this.onScroll();
      },
      { passive: true },
    );
    this.root.addEventListener('keydown', (event) => {
      if (this.key(event)) event.preventDefault();
    });
    this.root.addEventListener('focusin', (event) => this.onFocus(event.target));
    new ResizeObserver(() => {
      this.view = null;
      this.onScroll();
    }).observe(this.root);
  }

  render(model: GridModel): void {
    this.model = model;
    this.rowOffsets = offsets(model.rows);
    this.columnOffsets = offsets(model.columns);
    const width = model.stubWidth + (this.columnOffsets.at(-1) ?? 0);
    setAttributes(this.root, {
      'aria-label': model.label,
      'aria-rowcount': model.rows.length + 1,
      'aria-colcount': model.columns.length + 1,
      'data-rows': model.rows.length,
      'data-columns': model.columns.length,
    });
    const { style } = this.root;
    style.setProperty('--stub', `${String(model.stubWidth)}px`);
    style.setProperty('--header', `${String(model.headerHeight)}px`);
    style.setProperty('--width', `${String(width)}px`);
    style.setProperty('--height', `${String(model.headerHeight + (this.rowOffsets.at(-1) ?? 0) + BORDERS)}px`);
    this.body.style.height = `${String(this.rowOffsets.at(-1) ?? 0)}px`;
    this.draw(false);
    clearTimeout(this.fillTimer);
    this.fillTimer = setTimeout(() => this.onScroll(), FILL_DELAY);
  }

  /** Where a lane is, -1: nowhere. */
  private place({ row, column }: Place): { readonly row: number; readonly column: number } | null {
    if (this.model === null) return null;
    const at = {
      row: row === '' ? -1 : this.model.rows.findIndex(({ id }) => id === row),
      column: column === '' ? -1 : this.model.columns.findIndex(({ id }) => id === column),
    };
    return (row !== '' && at.row < 0) || (column !== '' && at.column < 0) ? null : at;
  }

  private onScroll(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      const wanted = this.window();
      const { firstRow, endRow, firstColumn, endColumn } = this.shown;
      const isSame =
        wanted.firstRow === firstRow &&
        wanted.endRow === endRow &&
        wanted.firstColumn === firstColumn &&
        wanted.endColumn === endColumn;
      if (!isSame) this.draw();
    });
  }

  private window(ahead = true): Window {
    this.view ??= viewOf(this.root);
    const { width, height } = this.view;
    // What is drawn may have become smaller than how far it is scrolled: the browser will scroll back.
    const top = Math.max(0, Math.min(this.view.top, (this.rowOffsets.at(-1) ?? 0) + BORDERS - height));
    const left = Math.max(0, Math.min(this.view.left, (this.columnOffsets.at(-1) ?? 0) + BORDERS));
    const rows = lanesBetween(this.rowOffsets, top, top + height, ahead ? AHEAD_ROWS : 1);
    const columns = lanesBetween(this.columnOffsets, left, left + width, ahead ? AHEAD_COLUMNS : 1);
    return { firstRow: rows.first, endRow: rows.end, firstColumn: columns.first, endColumn: columns.end };
  }

  /** @param ahead also what scrolling will show next */
  private draw(ahead = true): void {
    const { model } = this;
    if (model === null) return;
    const focused = this.focusedPlace();
    const focusedWidget = this.focusedWidget();
    this.shown = this.window(ahead);
    const { firstRow, endRow, firstColumn, endColumn } = this.shown;
    const before = this.cells;
    const rowsBefore = this.rowElements;
    this.cells = new Map();
    this.rowElements = new Map();

    const put = (
      row: string,
      column: string,
      role: string,
      index: number,
      left: number | null,
      size: number | null,
      view: CellView,
    ): HTMLElement => {
      const name = `${row}\n${column}`;
      const known = before.get(name);
      const made = known?.key === view.key ? known.element : element('div', { role }, ...view.make());
      setAttributes(made, {
        class: view.className,
        'aria-colindex': index,
        tabindex: -1,
        'aria-sort': view.sort === undefined || view.sort === 'none' ? null : view.sort,
        'data-row': row,
        'data-column': column,
      });
      if (left !== null) made.style.left = `${String(left)}px`;
      if (size !== null) made.style.width = `${String(size)}px`;
      this.cells.set(name, { element: made, key: view.key });
      return made;
    };

    const columns = model.columns.slice(firstColumn, endColumn).map(({ id, size }, at) => {
      const index = firstColumn + at;
      return { id, size, index, left: model.stubWidth + (this.columnOffsets[index] ?? 0) };
    });
    replace(this.head, [
      put('', '', 'columnheader', 1, null, model.stubWidth, model.corner),
      ...columns.map(({ id, size, index, left }) =>
        put('', id, 'columnheader', index + 2, left, size, model.columnHeader(index)),
      ),
    ]);
    const rows = model.rows.slice(firstRow, endRow).map((lane, at) => {
      const index = firstRow + at;
      const row = rowsBefore.get(lane.id) ?? element('div', { role: 'row' });
      this.rowElements.set(lane.id, row);
      setAttributes(row, {
        class: lane.heading === undefined ? 'grid-row' : 'grid-row heading',
        'aria-rowindex': index + 2,
      });
      row.style.top = `${String(this.rowOffsets[index] ?? 0)}px`;
      row.style.height = `${String(lane.size)}px`;
      const stub = put(
        lane.id,
        '',
        'rowheader',
        1,
        null,
        lane.heading === undefined ? model.stubWidth : null,
        model.rowHeader(index),
      );
      setAttributes(stub, { 'aria-colspan': lane.heading === undefined ? null : model.columns.length + 1 });
      const cells = lane.heading === undefined ? columns : [];
      replace(row, [
        stub,
        ...cells.map((column) =>
          put(
            lane.id,
            column.id,
            'gridcell',
            column.index + 2,
            column.left,
            column.size,
            model.cell(index, column.index),
          ),
        ),
      ]);
      return row;
    });
    replace(this.body, rows);
    this.markActive();
    if (focused !== null) this.refocus(focused, focusedWidget);
  }

  // ── Keyboard ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private focusedPlace(): Place | null {
    const cell = document.activeElement?.closest<HTMLElement>('[data-row]');
    if (cell === null || cell === undefined || !this.root.contains(cell)) return null;
    return { row: cell.dataset['row'] ?? '', column: cell.dataset['column'] ?? '' };
  }

  /** The widget within the cell that has the focus; null: the cell itself. */
  private focusedWidget(): string | null {
    const active = document.activeElement;
    return active instanceof HTMLElement ? (active.dataset['widget'] ?? null) : null;
  }

  private refocus(place: Place, widget: string | null): void {
    const cell = this.cells.get(`${place.row}\n${place.column}`)?.element;
    if (cell === undefined) {
      // Scrolled out of what exists: keys go on from where it was.
      this.root.focus({ preventScroll: true });
      return;
    }
    const target = widget === null ? cell : (cell.querySelector<HTMLElement>(`[data-widget="${widget}"]`) ?? cell);
    if (document.activeElement !== target) target.focus({ preventScroll: true });
  }

  private onFocus(target: EventTarget | null): void {
    const cell = target instanceof Element ? target.closest<HTMLElement>('[data-row]') : null;
    if (cell === null) return;
    this.active = { row: cell.dataset['row'] ?? '', column: cell.dataset['column'] ?? '' };
    this.markActive();
  }

  /** The active cell and what is in it can be reached by Tab, nothing else. */
  private markActive(): void {
    let exists = false;
    for (const [name, { element: cell }] of this.cells) {
      const isActive = name === `${this.active.row}\n${this.active.column}`;
      exists ||= isActive;
      setAttributes(cell, { tabindex: isActive ? 0 : -1 });
      for (const widget of cell.querySelectorAll('[data-widget]'))
        setAttributes(widget, { tabindex: isActive ? 0 : -1 });
    }
    setAttributes(this.root, { tabindex: exists ? -1 : 0 });
  }

  /** Returns whether the key was one of the grid's. */
  private key(event: KeyboardEvent): boolean {
    const { model } = this;
    if (model === null || event.altKey || event.metaKey) return false;
    const at = this.place(this.active) ?? { row: -1, column: -1 };
    const page = Math.max(1, Math.floor(this.root.clientHeight / 32) - 2);
    const all = event.ctrlKey;
    const moved = ((): { row: number; column: number } | null => {
      switch (event.key) {
        case 'ArrowUp':
          return { ...at, row: at.row - 1 };
        case 'ArrowDown':
          return { ...at, row: at.row + 1 };
        case 'ArrowLeft':
          return { ...at, column: at.column - 1 };
        case 'ArrowRight':
          return { ...at, column: at.column + 1 };
        case 'PageUp':
          return { ...at, row: at.row - page };
        case 'PageDown':
          return { ...at, row: at.row + page };
        case 'Home':
          return { row: all ? -1 : at.row, column: -1 };
        case 'End':
          return { row: all ? Infinity : at.row, column: Infinity };
        default:
          return null;
      }
    })();
    if (moved === null) return false;
    const row = Math.max(-1, Math.min(model.rows.length - 1, moved.row));
    const heading = row >= 0 && model.rows[row]?.heading !== undefined;
    const column = heading ? -1 : Math.max(-1, Math.min(model.columns.length - 1, moved.column));
    this.reveal(row, column);
    const place = { row: model.rows[row]?.id ?? '', column: model.columns[column]?.id ?? '' };
    this.active = place;
    this.draw();
    this.refocus(place, null);
    return true;
  }

  /** Scrolls so that a cell is in view, clear of header and first column. */
  private reveal(row: number, column: number): void {
    const { root, model } = this;
    if (model === null) return;
    this.view = null;
    if (row >= 0) {
      const [top, end] = [this.rowOffsets[row] ?? 0, this.rowOffsets[row + 1] ?? 0];
      const height = root.clientHeight - model.headerHeight;
      if (top < root.scrollTop) root.scrollTop = top;
      else if (end > root.scrollTop + height) root.scrollTop = end - height;
    }
    if (column >= 0) {
      const [left, end] = [this.columnOffsets[column] ?? 0, this.columnOffsets[column + 1] ?? 0];
      const width = root.clientWidth - model.stubWidth;
      if (left < root.scrollLeft) root.scrollLeft = left;
      else if (end > root.scrollLeft + width) root.scrollLeft = end - width;
    }
  }
}

/** Where each lane begins, and behind the last one where all end. */
function offsets(lanes: readonly Lane[]): number[] {
  const result = [0];
  for (const { size } of lanes) result.push((result.at(-1) ?? 0) + size);
  return result;
}

/** Lanes that touch a stretch, with some beyond it, in steps of as many. */
export function lanesBetween(
  starts: readonly number[],
  from: number,
  to: number,
  ahead: number,
): { readonly first: number; readonly end: number } {
  const count = starts.length - 1;
  let first = 0;
  while (first < count && (starts[first + 1] ?? 0) <= from) first++;
  let end = first;
  while (end < count && (starts[end] ?? 0) < to) end++;
  return {
    first: Math.max(0, Math.floor((first - ahead) / ahead) * ahead),
    end: Math.min(count, Math.ceil((end + ahead) / ahead) * ahead),
  };
}

/** Makes `children` the children, touching only what is not in its place already. */
function replace(parent: HTMLElement, children: readonly HTMLElement[]): void {
  children.forEach((child, index) => {
    const there = parent.children[index];
    if (there !== child) parent.insertBefore(child, there ?? null);
  });
  while (parent.children.length > children.length) parent.lastElementChild?.remove();
}
