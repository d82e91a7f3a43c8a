// The panel: takes messages in, keeps the options, and draws everything anew, at most once a frame.
import type { Bridge } from '../shared/bridge';
import { element, setAttributes, setText } from '../shared/dom';
import { icon } from '../shared/icons';
import { on } from '../shared/messages';
import { shifted, zoomed, type Axis, type Range } from '../shared/series/axis';
import { followsAfter, fullAxis, shownAxis } from '../shared/series/view';
import { onThemeChange, readTheme, type Theme } from '../shared/theme';
import { button, dropdown } from '../shared/toolkit';
import { ChartCard, type CardHost } from './chart-card';
import { CHARTS } from './definitions';
import { fileOfAll, fileOfChart, type ExportedFile } from './export';
import { Header, type Controls } from './header';
import { evaluationKinds } from './perplexity-chart';
import type { Scene } from './picture';
import {
  AddRuns,
  Control,
  Data,
  Export,
  Exported,
  Notice,
  Open,
  Ready,
  RemoveRun,
  Report,
  RequestSnapshot,
  Runs,
  type PanelState,
  type RunDelta,
  type RunInfo,
} from './protocol';
import { RunList } from './run-list';
import { ShownRuns } from './shown-runs';
import { heatName, text } from './strings';
import { Toolbar } from './toolbar';
import { extentOfX } from './x-axis';

const FRESH: PanelState = {
  version: '1',
  runs: [],
  x: 'step',
  logX: false,
  logY: [],
  smoothing: 0.9,
  follow: true,
  focus: null,
  kind: null,
  hidden: [],
  tables: [],
  heat: 'flippedShare',
  zoom: null,
};

/** How often times that pass by themselves are written anew. */
const CLOCK = 5_000;

export class Panel {
  private state: PanelState;
  private readonly runs = new ShownRuns();
  private controls: Controls = { allowed: true, reason: null };
  private received = false;

  private theme: Theme = readTheme();
  private readonly header: Header;
  private readonly runList: RunList;
  private readonly toolbar: Toolbar;
  private readonly cards: readonly ChartCard[];
  private readonly grid = element('div', { class: 'grid' });
  private readonly nothing = element('section', { class: 'nothing', hidden: true });
  private readonly noticeBar = element('div', { class: 'notice', role: 'status', hidden: true });
  private readonly live = element('div', { class: 'visually-hidden', 'aria-live': 'polite' });
  private readonly kindBox = element('span');
  private kindKey = '';

  private scene: Scene | null = null;
  private full: Axis = { kind: 'linear', min: 0, max: 1 };
  private scheduled = false;
  private readonly visible = new Set<ChartCard>();
  /** Cards whose picture is older than the scene. */
  private readonly stale = new Set<ChartCard>();
  private cursor: { readonly card: ChartCard; readonly x: number } | null = null;
  /** Time of the newest step that has arrived and is not drawn yet. */
  private newest: number | null = null;
  private exports = 0;
  private saveTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly root: HTMLElement,
    private readonly bridge: Bridge<PanelState>,
  ) {
    this.state = bridge.state ?? FRESH;
    this.header = new Header({
      control: (run, verb) => bridge.send(Control, { run, verb }),
      open: (run, what) => bridge.send(Open, { run, what }),
    });
    this.runList = new RunList({
      toggle: (run) => this.change({ hidden: toggled(this.state.hidden, run) }),
      focus: (run) => this.change({ focus: run }),
      remove: (run) => bridge.send(RemoveRun, { run }),
      add: () => bridge.send(AddRuns, {}),
    });
    this.toolbar = new Toolbar({
      onAxis: (x) => this.change({ x, zoom: null }),
      onLogX: (logX) => this.change({ logX, zoom: null }),
      onSmoothing: (smoothing) => this.change({ smoothing }),
      onFollow: (follow) => this.change({ follow }),
      onReset: () => this.showAll(),
      onExport: () => this.save(this.scene && fileOfAll(this.scene)),
    });
    const host = this.cardHost();
    this.cards = CHARTS.map((definition) => new ChartCard(definition, host));
    this.build();
    this.listen();
  }

  start(): void {
    this.bridge.send(Ready, {});
    this.invalidate();
  }

  // ── Structure ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

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
    const quantities = (['flippedShare', 'clippedShare', 'scaleDrift'] as const).map((value) => ({
      value,
      label: heatName(value),
    }));
    for (const card of this.cards) {
      this.grid.append(card.root);
      if (card.definition.id === 'perplexity') card.extra.append(this.kindBox);
      if (card.definition.id === 'layers') {
        card.extra.append(
          dropdown(text.heatQuantity(), quantities, this.state.heat, (value) => {
            const heat = quantities.find((each) => each.value === value)?.value;
            if (heat !== undefined) this.change({ heat });
          }),
        );
      }
    }
    this.root.append(
      element('div', { class: 'top' }, this.header.root, this.noticeBar),
      element(
        'main',
        { 'aria-label': text.panelLabel() },
        element('div', { class: 'options' }, this.runList.root, this.toolbar.root),
        this.nothing,
        this.grid,
        element('p', { id: 'chart-help', class: 'visually-hidden' }, text.chartHelp()),
        this.live,
      ),
    );
  }

  private listen(): void {
    this.bridge.receive(
      [
        on(Runs, ({ runs, controls }) => this.takeRuns(runs, controls)),
        on(Data, (delta) => this.takeData(delta)),
        on(Exported, ({ outcome, message }) => {
          if (outcome === 'saved') this.notify('information', text.saved(message ?? ''));
          else if (outcome === 'failed') this.notify('error', text.saveFailed(message ?? ''));
        }),
        on(Notice, ({ severity, message }) => this.notify(severity, message)),
      ],
      (problem) => this.bridge.send(Report, { message: problem }),
    );
    window.addEventListener('error', (event) => this.bridge.send(Report, { message: event.message }));
    window.addEventListener('unhandledrejection', (event) => {
      this.bridge.send(Report, { message: String(event.reason) });
    });
    onThemeChange(() => {
      this.theme = readTheme();
      this.invalidate();
    });
    const observer = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) {
          const card = this.cards.find((each) => each.root === entry.target);
          if (card === undefined) continue;
          if (entry.isIntersecting) this.visible.add(card);
          else this.visible.delete(card);
          if (entry.isIntersecting && this.stale.has(card)) this.invalidate();
        }
      },
      // A little ahead of scrolling.
      { rootMargin: '200px' },
    );
    for (const card of this.cards) observer.observe(card.root);
    setInterval(() => this.renderHeader(), CLOCK);
  }

  private cardHost(): CardHost {
    return {
      onView: (x) => this.view(x),
      onReset: () => this.showAll(),
      onChange: () => this.invalidate(),
      onCursor: (card, x) => {
        this.cursor = x === null ? null : { card, x };
        this.renderCursor();
      },
      onZoom: (factor, focus) => this.scene !== null && this.view(zoomed(this.scene.axis, factor, focus)),
      onPan: (share) => this.scene !== null && this.view(shifted(this.scene.axis, share)),
      onLog: (id, log) => this.change({ logY: log ? [...this.state.logY, id] : without(this.state.logY, id) }),
      onTable: (id, shown) =>
        this.change({ tables: shown ? [...this.state.tables, id] : without(this.state.tables, id) }),
      onExport: (card, kind) => this.save(this.scene && fileOfChart(card, this.scene, kind)),
      announce: (message) => setText(this.live, message),
    };
  }

  // ── Messages ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private takeRuns(infos: readonly RunInfo[], controls: Controls): void {
    this.received = true;
    this.controls = controls;
    this.runs.take(infos);
    const runs = this.runs.ids;
    const { focus, hidden } = this.state;
    this.change({
      runs,
      focus: focus !== null && runs.includes(focus) ? focus : null,
      hidden: hidden.filter((id) => runs.includes(id)),
    });
  }

  private takeData(delta: RunDelta): void {
    const data = this.runs.apply(delta);
    if (data === 'ask') this.bridge.send(RequestSnapshot, { run: delta.run });
    if (data === 'ask' || data === 'wait') return;
    if (delta.rows !== null && delta.rows.count > 0) this.newest = data.rows.column('time').at(-1) ?? null;
    this.invalidate();
  }

  private notify(severity: 'information' | 'warning' | 'error', message: string): void {
    this.noticeBar.hidden = false;
    setAttributes(this.noticeBar, { 'data-severity': severity });
    this.noticeBar.replaceChildren(icon(severity), element('span', {}, message));
    clearTimeout(this.noticeTimer);
    // Errors stay until the next notice.
    if (severity === 'information') this.noticeTimer = setTimeout(() => (this.noticeBar.hidden = true), 6_000);
  }

  private noticeTimer: ReturnType<typeof setTimeout> | undefined;

  // ── Options ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private change(change: Partial<PanelState>): void {
    this.state = { ...this.state, ...change };
    clearTimeout(this.saveTimer);
    // Not at every pixel of a pan.
    this.saveTimer = setTimeout(() => this.bridge.save(this.state), 150);
    this.invalidate();
  }

  /** Shows a range of x from now on. */
  private view(range: Range): void {
    const { zoom, axis } = shownAxis(this.full, { log: this.state.logX, zoom: range, follow: false });
    this.change({ zoom, follow: zoom === null ? this.state.follow : followsAfter(this.full, axis) });
  }

  private showAll(): void {
    for (const card of this.cards) card.forgetZoom();
    this.change({ zoom: null, follow: true });
  }

  // ── Drawing ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private invalidate(): void {
    for (const card of this.cards) this.stale.add(card);
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.render();
    });
  }

  private render(): void {
    const started = performance.now();
    const runs = this.runs.styled(this.theme);
    const hidden = new Set(this.state.hidden);
    const visibleRuns = runs.filter((run) => !hidden.has(run.info.id));
    const focus = runs.find((run) => run.info.id === this.state.focus) ?? runs[0] ?? null;
    this.full = fullAxis(extentOfX(visibleRuns, this.state.x), this.state.logX);
    const { axis, zoom } = shownAxis(this.full, {
      log: this.state.logX,
      zoom: this.state.zoom,
      follow: this.state.follow,
    });
    // What follows moves on, and is kept so. Otherwise what the user asked for stays, also while there is not yet (or no longer)
    // enough data to show it.
    if (this.state.zoom !== null && zoom !== null && zoom.max > this.state.zoom.max)
      this.state = { ...this.state, zoom };
    const { x, smoothing, kind, heat } = this.state;
    const scene: Scene = {
      runs: visibleRuns,
      focus,
      x,
      axis,
      smoothing,
      kind,
      heat,
      theme: this.theme,
      several: runs.length > 1,
    };
    this.scene = scene;
    this.renderHeader();
    this.runList.render(runs, hidden, focus?.info.id ?? null);
    this.toolbar.render(this.state, zoom !== null);
    this.renderKinds(scene);
    const nothing = this.received && runs.length === 0;
    this.nothing.hidden = !nothing;
    this.grid.hidden = nothing || !this.received;
    this.root.classList.toggle('without-runs', nothing || !this.received);
    for (const card of this.cards) {
      if (!this.visible.has(card) && this.visible.size > 0) continue;
      const { id } = card.definition;
      card.render(scene, { logY: this.state.logY.includes(id), tableShown: this.state.tables.includes(id) });
      this.stale.delete(card);
    }
    this.renderCursor();
    const delay = this.newest === null ? null : Date.now() - this.newest;
    this.newest = null;
    setAttributes(this.root, {
      'data-x-min': axis.min,
      'data-x-max': axis.max,
      'data-following': String(this.state.follow),
      'data-frame-ms': (performance.now() - started).toFixed(1),
      ...(delay === null ? {} : { 'data-event-to-frame-ms': delay }),
    });
  }

  private renderHeader(): void {
    const focus = this.runs.focus(this.state.focus);
    this.header.render(focus?.info ?? null, focus?.data ?? null, this.controls, Date.now());
  }

  private renderCursor(): void {
    for (const card of this.visible) {
      card.showCursor(this.cursor?.x ?? null, this.cursor?.card === card);
    }
  }

  /** A choice only where there is one. */
  private renderKinds(scene: Scene): void {
    const kinds = evaluationKinds(scene.focus === null ? scene.runs : [scene.focus, ...scene.runs]);
    const key = JSON.stringify(kinds);
    if (key === this.kindKey) return;
    this.kindKey = key;
    const choices = kinds.map((value) => ({ value, label: value }));
    this.kindBox.replaceChildren(
      ...(kinds.length > 1
        ? [dropdown(text.kind(), choices, this.state.kind ?? kinds[0] ?? '', (kind) => this.change({ kind }))]
        : []),
    );
  }

  // ── Files ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private save(file: Promise<ExportedFile> | null): void {
    file?.then(
      (made) => this.bridge.send(Export, { id: ++this.exports, ...made }),
      (error: unknown) => this.notify('error', text.saveFailed(String(error))),
    );
  }
}

function toggled(items: readonly string[], item: string): string[] {
  return items.includes(item) ? without(items, item) : [...items, item];
}

function without(items: readonly string[], item: string): string[] {
  return items.filter((each) => each !== item);
}
