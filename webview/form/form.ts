// The form: fields on one side, what they mean on the other. Everything shown follows from the last state of the text, the facts
// about model and machine, and the value that a slider stands at.
import { linearNames, resolveLinear } from '../../src/experiment/linears';
import type { Experiment } from '../../src/experiment/schema';
import type { WeightSample } from '../../src/experiment/weight-grid';
import type { Bridge } from '../shared/bridge';
import { element, setAttributes, setText } from '../shared/dom';
import { icon } from '../shared/icons';
import { on } from '../shared/messages';
import { onThemeChange, readTheme, type Theme } from '../shared/theme';
import { button } from '../shared/toolkit';
import { activationsControl } from './activations';
import type { Control } from './controls';
import { noEffect, type NoEffect } from './effects';
import { FieldRow, problemItem, type RowHost } from './field-row';
import { fieldsOf, GROUPS, SWEEP, type Field, type GroupId } from './fields';
import { GridView } from './grid-view';
import { layersControl } from './layers';
import { belongs, boundsOf, filled, helpFor, planOf, valueAt, withValue } from './live';
import { Needs, summaryOf } from './needs';
import {
  Append,
  Facts,
  Fix,
  Pick,
  Ready,
  Remove,
  Report,
  RequestWeights,
  Set as SetValue,
  SetAll,
  ShowText,
  StartTraining,
  State,
  Weights,
  WeightsMissing,
  type FormProblem,
  type FormState,
  type Json,
  type PageState,
  type Path,
  type PlanningFacts,
} from './protocol';
import { RecipeView } from './recipe-view';
import { groupTitle, text, titleOf } from './strings';

const FRESH: PageState = { version: '1', open: [], linear: null, scroll: 0 };
/** Milliseconds without a movement before what would help is looked for. */
const HELP_DELAY = 60;
const LAYERS: Path = ['quantization', 'layers'];

interface Group {
  readonly id: GroupId;
  readonly rows: readonly FieldRow[];
  /** Of rare settings; null: it has none. */
  readonly details: { readonly root: HTMLDetailsElement; readonly summary: HTMLElement } | null;
  /** Says what is not shown because it has no effect. */
  readonly leftOut: HTMLElement;
}

interface Preview {
  readonly path: Path;
  readonly value: Json;
}

export class Form {
  private page: PageState;
  private state: FormState | null = null;
  private facts: PlanningFacts | null = null;
  private preview: Preview | null = null;
  private helpTimer: ReturnType<typeof setTimeout> | undefined;
  private sample: (WeightSample & { readonly key: string }) | null = null;
  private sampleMissing: { readonly key: string; readonly message: string } | null = null;
  private requested = '';
  private theme: Theme = readTheme();
  private scrolled = false;

  private readonly groups: readonly Group[];
  private readonly title = element('h1', {});
  /** In sight whatever is scrolled to. */
  private readonly summary = element('p', { class: 'summary' });
  private readonly brokenBar = element('div', { class: 'notice', role: 'alert', hidden: true });
  private readonly fileProblems = element('ul', { class: 'problems', hidden: true, 'aria-label': text.fileProblems() });
  private readonly needs = new Needs({ use: (assignments) => this.useAssignments(assignments) });
  private readonly grid = new GridView((linear) => {
    this.keep({ linear });
    this.render();
  });
  private readonly recipe = new RecipeView({
    set: (path, value) => this.bridge.send(SetValue, { path, value }),
    focus: (id) => this.focusField(id),
  });

  constructor(
    private readonly root: HTMLElement,
    private readonly bridge: Bridge<PageState>,
  ) {
    this.page = bridge.state ?? FRESH;
    const fields = [...fieldsOf(), SWEEP];
    this.groups = GROUPS.flatMap((id): Group[] => {
      const own = fields.filter(({ group }) => group === id);
      return own.length === 0 ? [] : [this.groupOf(id, own)];
    });
    this.build();
    this.listen();
  }

  start(): void {
    this.bridge.send(Ready, {});
  }

  // ── Structure ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private groupOf(id: GroupId, fields: readonly Field[]): Group {
    const rows = fields.map((field) => this.rowOf(field));
    const advanced = rows.filter(({ field }) => field.advanced);
    const leftOut = element('div', { class: 'left-out', hidden: true });
    if (advanced.length === 0) return { id, rows, details: null, leftOut };
    const summary = element('summary', {});
    const details = element('details', { class: 'more' }, summary, ...advanced.map((row) => row.root));
    details.open = this.page.open.includes(id);
    details.addEventListener('toggle', () => {
      const others = this.page.open.filter((each) => each !== id);
      this.keep({ open: details.open ? [...others, id] : others });
    });
    return { id, rows, details: { root: details, summary }, leftOut };
  }

  private rowOf(field: Field): FieldRow {
    const host = this.hostOf(field);
    const { content } = field;
    switch (content.kind) {
      case 'layers':
        return new FieldRow(field, host, { control: () => this.layers() });
      case 'activations': {
        const inner = {
          hostOf: (setting: Field) => this.hostOf(setting),
          problems: () => this.state?.problems ?? [],
        };
        return new FieldRow(field, host, { control: (own) => activationsControl(field, content, own, inner) });
      }
      default:
        return new FieldRow(field, host);
    }
  }

  private hostOf({ path }: Field): RowHost {
    return {
      preview: (value) => {
        this.preview = { path, value };
        this.renderLive();
      },
      cancel: () => {
        this.preview = null;
        this.render();
      },
      commit: (value) => this.commit(path, value),
      append: (value) => this.bridge.send(Append, { path, value }),
      removeItem: (index) => this.bridge.send(Remove, { path: [...path, index] }),
      setItem: (index, value) => this.bridge.send(SetValue, { path: [...path, index], value }),
      pick: (what) => this.bridge.send(Pick, { path, what }),
      showText: () => this.bridge.send(ShowText, { path, position: null }),
      refuse: () => undefined,
      reset: () => this.bridge.send(Remove, { path }),
      fix: (problem, fix) => this.fix(problem, fix),
    };
  }

  private layers(): Control {
    return layersControl({
      set: (below, value) => this.bridge.send(SetValue, { path: [...LAYERS, ...below], value }),
      remove: (below) => this.bridge.send(Remove, { path: [...LAYERS, ...below] }),
      append: (value) => this.bridge.send(Append, { path: LAYERS, value }),
      fix: (problem, fix) => this.fix(problem, fix),
      showText: (below) => this.bridge.send(ShowText, { path: [...LAYERS, ...below], position: null }),
      problemsAt: (id) => this.state?.problems.filter((problem) => problem.path === id) ?? [],
      linears: () => this.linears(),
    });
  }

  private build(): void {
    const showText = button({
      look: 'secondary',
      label: text.showText(),
      text: text.showText(),
      onClick: () => this.bridge.send(ShowText, { path: null, position: null }),
    });
    const start = button({
      look: 'primary',
      label: text.startTraining(),
      text: text.startTraining(),
      icon: icon('play'),
      onClick: () => this.bridge.send(StartTraining, {}),
    });
    const sections = this.groups.map(({ id, rows, details, leftOut }) =>
      element(
        'section',
        { class: 'group', 'data-group': id, 'aria-label': groupTitle(id) },
        element('h2', {}, groupTitle(id)),
        ...rows.filter(({ field }) => !field.advanced).map((row) => row.root),
        details?.root ?? null,
        leftOut,
      ),
    );
    this.root.append(
      element(
        'header',
        { class: 'top' },
        element(
          'div',
          { class: 'head-row' },
          this.title,
          this.summary,
          element('div', { class: 'head-buttons' }, showText, start),
        ),
        this.brokenBar,
      ),
      element(
        'main',
        { 'aria-label': text.formLabel() },
        element('div', { class: 'fields' }, this.fileProblems, ...sections),
        element('div', { class: 'live' }, this.needs.root, this.grid.root, this.recipe.root),
      ),
    );
    this.root.hidden = true;
  }

  private listen(): void {
    this.bridge.receive(
      [
        on(State, (state) => this.take(state)),
        on(Facts, (facts) => {
          this.facts = facts;
          this.render();
        }),
        on(Weights, ({ model, linear, rows, columns, values }) => {
          this.sample = { key: `${model} ${linear}`, rows, columns, values: new Float32Array(values) };
          this.render();
        }),
        on(WeightsMissing, ({ model, linear, message }) => {
          this.sampleMissing = { key: `${model} ${linear}`, message };
          this.render();
        }),
      ],
      (problem) => this.bridge.send(Report, { message: problem }),
    );
    window.addEventListener('error', (event) => this.bridge.send(Report, { message: event.message }));
    window.addEventListener('unhandledrejection', (event) => {
      this.bridge.send(Report, { message: String(event.reason) });
    });
    window.addEventListener('scrollend', () => this.keep({ scroll: window.scrollY }));
    onThemeChange(() => {
      this.theme = readTheme();
      this.renderLive();
    });
  }

  // ── Messages ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private take(state: FormState): void {
    // The text has changed, or refused to: what a slider stood at is in it or of the past.
    if (state.version !== this.state?.version) this.preview = null;
    this.state = state;
    this.root.hidden = false;
    this.render();
    if (this.scrolled) return;
    this.scrolled = true;
    window.scrollTo(0, this.page.scroll);
  }

  private commit(path: Path, value: Json): void {
    this.preview = { path, value };
    this.bridge.send(SetValue, { path, value });
    this.renderLive();
  }

  private fix(problem: FormProblem, fix: number): void {
    const { state } = this;
    const index = state?.problems.indexOf(problem) ?? -1;
    const title = problem.fixes[fix];
    if (state === null || index < 0 || title === undefined) return;
    this.bridge.send(Fix, { version: state.version, problem: index, fix, title });
  }

  /** `training.microBatchSize=4` of the estimate's suggestions. */
  private useAssignments(assignments: readonly string[]): void {
    const values = assignments.map((assignment) => {
      const [key = '', value = ''] = assignment.split('=');
      let parsed: unknown = value;
      try {
        parsed = JSON.parse(value);
      } catch {
        // A word.
      }
      return { path: key.split('.'), value: parsed as Json };
    });
    this.bridge.send(SetAll, { values });
  }

  private keep(change: Partial<PageState>): void {
    this.page = { ...this.page, ...change };
    this.bridge.save(this.page);
  }

  private focusField(id: string): void {
    const row = this.groups.flatMap(({ rows }) => rows).find(({ field }) => field.id === id);
    row?.root.closest('details')?.setAttribute('open', '');
    row?.root.scrollIntoView({ block: 'center' });
    row?.root
      .querySelector<HTMLElement>('vscode-text-field, vscode-dropdown, vscode-checkbox, input, vscode-button')
      ?.focus();
  }

  // ── Drawing ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private linears(): readonly string[] {
    return this.facts === null ? [] : linearNames(this.facts.shape);
  }

  /** As the text says it, with what a slider stands at. */
  private experiment(state: FormState): Experiment {
    const written =
      this.preview === null ? state.written : withValue(state.written, this.preview.path, this.preview.value);
    return filled(written as Json);
  }

  private render(): void {
    const { state } = this;
    if (state === null) return;
    const disabled = state.broken !== null;
    setText(this.title, state.file);
    setAttributes(this.root, { 'data-broken': String(disabled), 'data-version': state.version });
    this.renderBroken(state);
    const experiment = this.experiment(state);
    const bounds = boundsOf(experiment, this.facts);
    const placed = new Set<FormProblem>();
    for (const group of this.groups) {
      const leftOut: [FieldRow, NoEffect][] = [];
      for (const row of group.rows) {
        const { path, id } = row.field;
        const problems = state.problems.filter((problem) => belongs(problem.path, row.field));
        for (const problem of problems) placed.add(problem);
        const written = valueAt(state.written, path) !== undefined;
        const nothing = noEffect(id, experiment, bounds);
        row.show({
          value: valueAt(experiment, path),
          written,
          disabled,
          experiment,
          bounds,
          // Those of what is inside stand there.
          problems: problems.filter((problem) => standsAt(problem, row.field)),
          noEffect: nothing,
        });
        if (nothing !== null && row.root.hidden) leftOut.push([row, nothing]);
        // There is nothing to set where there is none.
        if (row.field === SWEEP) row.root.closest('section')?.toggleAttribute('hidden', !written);
        const isHiddenError = row.field.advanced && problems.some(({ severity }) => severity === 'error');
        if (group.details !== null && isHiddenError) group.details.root.open = true;
      }
      showGroup(group, leftOut);
    }
    this.renderFileProblems(
      state.problems.filter((problem) => !placed.has(problem)),
      disabled,
    );
    this.renderLive();
  }

  private renderBroken({ broken }: FormState): void {
    this.brokenBar.hidden = broken === null;
    if (broken === null) return;
    const { message, line, column } = broken;
    const there = button({
      look: 'primary',
      label: text.goThere(),
      text: text.goThere(),
      onClick: () => this.bridge.send(ShowText, { path: null, position: { line, column } }),
    });
    setAttributes(this.brokenBar, { 'data-severity': 'error' });
    this.brokenBar.replaceChildren(
      icon('error'),
      element(
        'div',
        {},
        element('strong', {}, text.brokenTitle()),
        element('p', {}, text.brokenText(message, line, column)),
        element('p', { class: 'help' }, text.brokenHint()),
      ),
      there,
    );
  }

  private renderFileProblems(problems: readonly FormProblem[], disabled: boolean): void {
    this.fileProblems.hidden = problems.length === 0 || disabled;
    this.fileProblems.replaceChildren(
      ...problems.map((problem) => problemItem(problem, disabled, (fix) => this.fix(problem, fix))),
    );
  }

  /** What follows from the values alone: drawn for every movement of a slider. */
  private renderLive(): void {
    const { state, facts } = this;
    if (state === null) return;
    const started = performance.now();
    const disabled = state.broken !== null;
    const experiment = this.experiment(state);
    const estimate = facts === null ? null : planOf(experiment, facts);
    const hasErrors = state.problems.some(({ severity }) => severity === 'error');
    const why = facts !== null ? text.cannotPlan() : hasErrors ? text.noModel() : text.waiting();
    this.needs.show(estimate, why);
    this.helpSoon(estimate?.fits === false ? experiment : null, disabled);
    setText(this.summary, estimate === null ? '' : summaryOf(estimate));
    this.recipe.show(experiment, disabled);
    this.renderGrid(experiment);
    setAttributes(this.root, { 'data-live-ms': (performance.now() - started).toFixed(2) });
  }

  /** What helps takes longer to find than a movement may: it follows when the slider rests. */
  private helpSoon(experiment: Experiment | null, disabled: boolean): void {
    clearTimeout(this.helpTimer);
    const { facts } = this;
    if (experiment === null || facts === null) this.needs.showHelp([], disabled);
    else this.helpTimer = setTimeout(() => this.needs.showHelp(helpFor(experiment, facts), disabled), HELP_DELAY);
  }

  private renderGrid(experiment: Experiment): void {
    const { facts } = this;
    const linears = this.linears();
    this.grid.root.hidden = facts === null;
    if (facts === null) return;
    const linear = linears.find((name) => name === this.page.linear) ?? linears[0] ?? '';
    const key = `${facts.model} ${linear}`;
    if (key !== this.requested) {
      this.requested = key;
      this.bridge.send(RequestWeights, { model: facts.model, linear });
    }
    this.grid.showLinears(linears, linear);
    this.grid.show({
      linear,
      spec: specOf(experiment, linear),
      sample: this.sample?.key === key ? this.sample : null,
      missing: this.sampleMissing?.key === key ? this.sampleMissing.message : null,
      theme: this.theme,
    });
  }
}

function specOf(experiment: Experiment, linear: string): ReturnType<typeof resolveLinear> {
  try {
    return resolveLinear(experiment, linear);
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}

/** Whether a problem of a field is said at the field itself, and not at one of those inside it. */
function standsAt({ path: problem }: FormProblem, { id, content }: Field): boolean {
  switch (content.kind) {
    case 'layers':
      return problem === id;
    case 'activations':
      return !content.settings.some((setting) => belongs(problem, setting));
    default:
      return true;
  }
}

/** More names than these are a number. */
const NAMED = 4;

/** How many rare settings there are, and which of all are left out and why. */
function showGroup({ rows, details, leftOut: note }: Group, leftOut: readonly (readonly [FieldRow, NoEffect])[]): void {
  if (details !== null) {
    const rare = rows.filter(({ field, root }) => field.advanced && !root.hidden).length;
    details.root.hidden = rare === 0;
    setText(details.summary, text.advanced(rare));
  }
  const byReason = new Map<string, string[]>();
  for (const [{ field }, { reason, noted }] of leftOut) {
    if (noted) byReason.set(reason, [...(byReason.get(reason) ?? []), titleOf(field.id)]);
  }
  note.hidden = byReason.size === 0;
  const lines = [...byReason].map(([reason, titles]) =>
    text.leftOut(titles.length > NAMED ? text.manySettings(titles.length) : titles.join(', '), reason),
  );
  setText(note, lines.join(' '));
}
