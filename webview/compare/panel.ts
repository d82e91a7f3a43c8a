// The panel: takes messages in, keeps the options, arranges and compares, and draws at most once a frame.
import {
  arrange,
  compareRuns,
  comparisonCsv,
  comparisonLatex,
  comparisonMarkdown,
  pareto,
  type Comparison,
} from '../../src/compare';
import type { Bridge } from '../shared/bridge';
import { element, setAttributes } from '../shared/dom';
import { icon } from '../shared/icons';
import { on } from '../shared/messages';
import { button } from '../shared/toolkit';
import { ParetoCard } from './pareto-card';
import {
  AddRuns,
  Changed,
  Copy,
  Notice,
  OpenCharts,
  Ready,
  RemoveRun,
  Report,
  Runs,
  SaveReport,
  type CopyFormat,
  type PanelState,
  type Run,
} from './protocol';
import { text } from './strings';
import { TableView } from './table-view';
import { Toolbar } from './toolbar';

const FRESH: PanelState = {
  version: '1',
  runs: [],
  layout: 'columns',
  baseline: null,
  hideIdentical: false,
  filter: '',
  search: '',
  sort: null,
  pinned: [],
  picture: { shown: true, cost: 'bitsPerWeight', log: null, table: false },
};

/** Below this many pixels columns are narrower. */
const NARROW = 560;

/** What is shown: runs in their order, compared. */
interface Shown {
  readonly runs: readonly Run[];
  readonly comparison: Comparison;
}

export class Panel {
  private state: PanelState;
  private runs: readonly Run[] = [];
  private received = false;
  private shown: Shown | null = null;
  private scheduled = false;
  private pictureScheduled = false;
  private saveTimer: ReturnType<typeof setTimeout> | undefined;
  private noticeTimer: ReturnType<typeof setTimeout> | undefined;

  private readonly toolbar: Toolbar;
  private readonly table: TableView;
  private readonly picture: ParetoCard;
  private readonly noticeBar = element('div', { class: 'notice', role: 'status', hidden: true });
  private readonly nothing = element('section', { class: 'nothing', hidden: true });
  private readonly nothingFits = element(
    'p',
    { class: 'nothing-fits', role: 'status', hidden: true },
    text.nothingFits(),
  );
  private readonly content = element('div', { class: 'content' });

  constructor(
    private readonly root: HTMLElement,
    private readonly bridge: Bridge<PanelState>,
  ) {
    this.state = bridge.state ?? FRESH;
    this.toolbar = new Toolbar({
      onLayout: (layout) => this.change({ layout }),
      onFilter: (filter) => this.change({ filter }),
      onSearch: (search) => this.change({ search }),
      onHideIdentical: (hideIdentical) => this.change({ hideIdentical }),
      onPicture: (shown) => this.change({ picture: { ...this.state.picture, shown } }),
      onAdd: () => bridge.send(AddRuns, {}),
      onCharts: () => bridge.send(OpenCharts, { runs: this.ids() }),
      onCopy: (format) => this.copy(format),
      onReport: () => this.saveReport(),
    });
    this.table = new TableView({
      onSort: (key) => this.sort(key),
      onBaseline: (baseline) => this.change({ baseline }),
      onPin: (run) => this.change({ pinned: toggled(this.state.pinned, run) }),
      onRemove: (run) => bridge.send(RemoveRun, { run }),
    });
    this.picture = new ParetoCard({
      onChange: (change) => this.change({ picture: { ...this.state.picture, ...change } }),
    });
    this.build();
    this.listen();
  }

  start(): void {
    this.bridge.send(Ready, {});
    this.invalidate();
  }

  private build(): void {
    this.nothing.append(
      element('h1', {}, text.noRunTitle()),
      element('p', {}, text.noRunText()),
      button({
        look: 'primary',
        label: text.addRun(),
        text: text.addRun(),
        icon: icon('add'),
        onClick: () => this.bridge.send(AddRuns, {}),
      }),
    );
    this.content.append(this.nothingFits, this.table.root, this.picture.root);
    this.root.append(
      this.toolbar.root,
      element('main', { 'aria-label': text.panelLabel() }, this.noticeBar, this.nothing, this.content),
    );
  }

  private listen(): void {
    this.bridge.receive(
      [
        on(Runs, ({ runs }) => this.take(runs)),
        on(Changed, ({ runs }) => {
          const changed = new Map(runs.map((run) => [run.id, run]));
          this.runs = this.runs.map((run) => changed.get(run.id) ?? run);
          this.invalidate();
        }),
        on(Notice, ({ severity, message }) => this.notify(severity, message)),
      ],
      (problem) => this.bridge.send(Report, { message: problem }),
    );
    window.addEventListener('error', (event) => this.bridge.send(Report, { message: event.message }));
    window.addEventListener('unhandledrejection', (event) => {
      this.bridge.send(Report, { message: String(event.reason) });
    });
    window.addEventListener('resize', () => this.invalidate());
  }

  private take(runs: readonly Run[]): void {
    this.received = true;
    this.runs = runs;
    const ids = runs.map(({ id }) => id);
    const { baseline, pinned } = this.state;
    this.change({
      runs: ids,
      baseline: baseline !== null && ids.includes(baseline) ? baseline : null,
      pinned: pinned.filter((id) => ids.includes(id)),
    });
  }

  private notify(severity: 'information' | 'warning' | 'error', message: string): void {
    this.noticeBar.hidden = false;
    setAttributes(this.noticeBar, { 'data-severity': severity });
    this.noticeBar.replaceChildren(icon(severity), element('span', {}, message));
    clearTimeout(this.noticeTimer);
    // Errors stay until the next notice.
    if (severity === 'information') this.noticeTimer = setTimeout(() => (this.noticeBar.hidden = true), 6_000);
  }

  // ── Options ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private change(change: Partial<PanelState>): void {
    this.state = { ...this.state, ...change };
    clearTimeout(this.saveTimer);
    // Not at every letter.
    this.saveTimer = setTimeout(() => this.bridge.save(this.state), 150);
    this.invalidate();
  }

  /** Up, down, as it was. */
  private sort(key: string): void {
    const { sort } = this.state;
    if (sort?.key !== key) this.change({ sort: { key, descending: false } });
    else this.change({ sort: sort.descending ? null : { key, descending: true } });
  }

  // ── Actions ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private ids(): string[] {
    return (this.shown?.runs ?? []).map(({ id }) => id);
  }

  /** What the table shows, the same as `lrqat compare` prints of these runs. */
  private copy(format: CopyFormat): void {
    if (this.shown === null) return;
    // Not what the last frame showed: the settings may have changed since.
    const { comparison } = this.compare();
    const transposed = this.state.layout === 'rows';
    const made = {
      markdown: () => comparisonMarkdown(comparison, transposed),
      latex: () => comparisonLatex(comparison, transposed),
      csv: () => comparisonCsv(comparison),
    };
    this.bridge.send(Copy, { format, text: made[format]() });
  }

  private saveReport(): void {
    if (this.shown === null) return;
    const { runs, comparison } = this.compare();
    this.bridge.send(SaveReport, {
      runs: runs.map(({ id }) => id),
      baseline: runs[comparison.baseline]?.id ?? null,
      identical: !this.state.hideIdentical,
    });
  }

  // ── Drawing ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private invalidate(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.render();
    });
  }

  private compare(): Shown {
    const { filter, sort, pinned, baseline, hideIdentical, search } = this.state;
    const pins = new Set(pinned);
    const runs = arrange(this.runs, { filter, sort, isPinned: (run) => pins.has(run.id) });
    const words = search
      .toLowerCase()
      .split(/\s+/)
      .filter((word) => word !== '');
    const comparison = compareRuns(runs, {
      baseline: Math.max(
        0,
        runs.findIndex(({ id }) => id === baseline),
      ),
      identical: !hideIdentical,
      fields: ({ key, label }) => words.every((word) => `${key} ${label}`.toLowerCase().includes(word)),
    });
    return { runs, comparison };
  }

  private render(): void {
    const started = performance.now();
    this.shown = this.compare();
    const { runs, comparison } = this.shown;
    const nothing = this.received && this.runs.length === 0;
    this.nothing.hidden = !nothing;
    this.content.hidden = nothing || !this.received;
    this.toolbar.root.hidden = nothing || !this.received;
    this.nothingFits.hidden = runs.length > 0;
    this.table.root.hidden = runs.length === 0;
    this.toolbar.render(this.state, runs.length, this.runs.length);
    if (runs.length > 0) {
      this.table.render({
        runs,
        comparison,
        layout: this.state.layout,
        sort: this.state.sort,
        pinned: new Set(this.state.pinned),
        narrow: window.innerWidth < NARROW,
      });
    }
    this.picture.root.hidden = runs.length === 0 || !this.state.picture.shown;
    this.drawPictureSoon();
    setAttributes(this.root, {
      'data-runs': runs.length,
      'data-layout': this.state.layout,
      'data-frame-ms': (performance.now() - started).toFixed(1),
    });
  }

  /** In a frame of its own: the table answers at once to whoever sorts or types. */
  private drawPictureSoon(): void {
    if (this.pictureScheduled) return;
    this.pictureScheduled = true;
    requestAnimationFrame(() => {
      this.pictureScheduled = false;
      this.drawPicture();
    });
  }

  private drawPicture(): void {
    const { picture } = this.state;
    const shown = new Set(this.shown?.runs);
    // In the order they came, so that sorting the table leaves the picture as it is.
    const runs = this.runs.filter((run) => shown.has(run));
    if (runs.length > 0 && picture.shown) this.picture.render(pareto(runs, picture.cost), picture);
  }
}

function toggled(items: readonly string[], item: string): string[] {
  return items.includes(item) ? items.filter((each) => each !== item) : [...items, item];
}
