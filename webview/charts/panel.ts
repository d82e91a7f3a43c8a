// The panel: takes messages in, keeps the options, and says what the charts are to show.
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
import { NoticeBar } from './notice-bar';
import { FRESH, included, toggled } from './panel-state';
import { evaluationKinds } from './perplexity-chart';
import type { Scene } from './picture';
import {
  AddRuns,
  CompareRuns,
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
import { Stage } from './stage';
import { heatName, text } from './strings';
import { Toolbar } from './toolbar';
import { extentOfX } from './x-axis';

/** How often times that pass by themselves are written anew. */
const CLOCK = 5_000;

export class Panel {
  private state: PanelState;
  private readonly stage: Stage;
  private readonly runs: ShownRuns;
  private controls: Controls = { allowed: true, reason: null };
  private received = false;

  private theme: Theme = readTheme();
  private readonly header: Header;
  private readonly runList: RunList;
  private readonly toolbar: Toolbar;
  private readonly cards: readonly ChartCard[];
  private readonly grid = element('div', { class: 'grid' });
  private readonly nothing = element('section', { class: 'nothing', hidden: true });
  private readonly notices = new NoticeBar();
  private readonly live = element('div', { class: 'visually-hidden', 'aria-live': 'polite' });
  private readonly kindBox = element('span');
  private kindKey = '';

  /** The header is older than what it tells of. */
  private headerOutdated = true;
  private full: Axis = { kind: 'linear', min: 0, max: 1 };
  /** The run that is pointed at, in the list or in a chart. */
  private pointed: string | null = null;
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
      point: (run) => this.point(run),
      add: () => bridge.send(AddRuns, {}),
      compare: () => bridge.send(CompareRuns, {}),
    });
    this.toolbar = new Toolbar({
      onAxis: (x) => this.change({ x, zoom: null }),
      onLogX: (logX) => this.change({ logX, zoom: null }),
      onSmoothing: (smoothing) => this.change({ smoothing }, (card) => card.definition.smooths),
      onFollow: (follow) => this.change({ follow }),
      onReset: () => this.showAll(),
      onExport: () => this.save(this.stage.scene && fileOfAll(this.stage.scene)),
    });
    const host = this.cardHost();
    this.cards = CHARTS.map((definition) => new ChartCard(definition, host));
    this.build();
    this.stage = new Stage(root, this.cards, {
      compose: () => this.compose(),
      options: ({ definition: { id } }) => ({
        logY: this.state.logY.includes(id),
        tableShown: this.state.tables.includes(id),
      }),
    });
    this.runs = new ShownRuns(this.stage.slices);
    this.listen();
  }

  start(): void {
    this.bridge.send(Ready, {});
    this.stage.invalidate();
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
      element('div', { class: 'top' }, this.header.root, this.notices.root),
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
          if (outcome === 'saved') this.notices.show('information', text.saved(message ?? ''));
          else if (outcome === 'failed') this.notices.show('error', text.saveFailed(message ?? ''));
        }),
        on(Notice, ({ severity, message }) => this.notices.show(severity, message)),
      ],
      (problem) => this.bridge.send(Report, { message: problem }),
    );
    window.addEventListener('error', (event) => this.bridge.send(Report, { message: event.message }));
    window.addEventListener('unhandledrejection', (event) => {
      this.bridge.send(Report, { message: String(event.reason) });
    });
    onThemeChange(() => {
      this.theme = readTheme();
      this.stage.invalidate();
    });
    setInterval(() => this.renderHeader(), CLOCK);
  }

  private cardHost(): CardHost {
    return {
      onView: (card, x) => {
        this.stage.act(card);
        this.view(x);
      },
      onReset: () => this.showAll(),
      onChange: () => this.stage.invalidate(),
      onCursor: (card, x) => this.stage.setCursor(x === null ? null : { card, x }),
      onPoint: (run) => this.point(run),
      onZoom: (factor, focus) => this.withScene(({ axis }) => this.view(zoomed(axis, factor, focus))),
      onPan: (share) => this.withScene(({ axis }) => this.view(shifted(axis, share))),
      onLog: (id, log) => this.change({ logY: included(this.state.logY, id, log) }),
      onTable: (id, shown) => this.change({ tables: included(this.state.tables, id, shown) }),
      onExport: (card, kind) => this.withScene((scene) => this.save(fileOfChart(card, scene, kind))),
      announce: (message) => setText(this.live, message),
    };
  }

  // ── Messages ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private takeRuns(infos: readonly RunInfo[], controls: Controls): void {
    this.received = true;
    this.headerOutdated = true;
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
    this.headerOutdated = true;
    if (delta.rows !== null && delta.rows.count > 0) this.stage.arrived(data.rows.column('time').at(-1) ?? null);
    this.stage.invalidate();
  }

  // ── Options ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** @param concerns the cards that must be drawn anew; all by default */
  private change(change: Partial<PanelState>, concerns?: (card: ChartCard) => boolean): void {
    if (change.focus !== undefined) this.headerOutdated = true;
    this.state = { ...this.state, ...change };
    clearTimeout(this.saveTimer);
    // Not at every pixel of a pan.
    this.saveTimer = setTimeout(() => this.bridge.save(this.state), 150);
    this.stage.invalidate(concerns);
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

  /** What is around the charts as it is now, and what the charts are to show. */
  private compose(): Scene {
    const runs = this.runs.styled(this.theme);
    const hidden = new Set(this.state.hidden);
    const shown = runs.filter((run) => !hidden.has(run.info.id));
    const picked = runs.find((run) => run.info.id === this.state.focus) ?? runs[0] ?? null;
    const pointed = shown.find((run) => run.info.id === this.pointed) ?? null;
    this.full = fullAxis(extentOfX(shown, this.state.x), this.state.logX);
    const { axis, zoom } = shownAxis(this.full, {
      log: this.state.logX,
      zoom: this.state.zoom,
      follow: this.state.follow,
    });
    // What follows moves on, and is kept so. Otherwise what the user asked for stays, also while there is not yet (or no longer)
    // enough data to show it.
    if (this.state.zoom !== null && zoom !== null && zoom.max > this.state.zoom.max)
      this.state = { ...this.state, zoom };
    const { x, smoothing, kind, heat, follow } = this.state;
    const several = runs.length > 1;
    const scene: Scene = {
      runs: shown,
      focus: pointed ?? picked,
      pointed: several ? pointed : null,
      ...{ x, axis, smoothing, kind, heat, several, theme: this.theme },
    };
    if (this.headerOutdated) this.renderHeader();
    this.runList.render(runs, hidden, picked?.info.id ?? null);
    this.toolbar.render(this.state, zoom !== null);
    this.renderKinds(scene);
    const nothing = this.received && runs.length === 0;
    this.nothing.hidden = !nothing;
    this.grid.hidden = nothing || !this.received;
    for (const card of this.cards) card.root.hidden = !card.definition.isThere(scene);
    this.root.classList.toggle('without-runs', nothing || !this.received);
    setAttributes(this.root, { 'data-following': String(follow) });
    return scene;
  }

  private withScene(act: (scene: Scene) => void): void {
    if (this.stage.scene !== null) act(this.stage.scene);
  }

  /** What there is once in a chart (heat map, reference lines, marks) is about the run that is pointed at. */
  private point(run: string | null): void {
    if (run === this.pointed) return;
    this.pointed = run;
    this.stage.invalidate();
  }

  private renderHeader(): void {
    this.headerOutdated = false;
    const focus = this.runs.focus(this.state.focus);
    this.header.render(focus?.info ?? null, focus?.data ?? null, this.controls, Date.now());
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
      (error: unknown) => this.notices.show('error', text.saveFailed(String(error))),
    );
  }
}
