// Who runs, how far it is, and what can be done about it.
import { formatSeconds } from '../../src/experiment/format-numbers';
import { element, setAttributes, setText } from '../shared/dom';
import { reading } from '../shared/format';
import { icon, type IconName } from '../shared/icons';
import { button, progressRing, setDisabled, type ButtonLook } from '../shared/toolkit';
import { adviceFor, type Advice, type AdviceAction } from './advice';
import { hasNoSteps } from './picture';
import type { ControlVerb, RunInfo } from './protocol';
import type { RunData } from './series/run-data';
import { stateName } from '../shared/run-state';
import { text } from './strings';

export interface HeaderHost {
  readonly control: (run: string, verb: ControlVerb) => void;
  readonly open: (run: string, what: 'log' | 'folder' | 'experiment') => void;
}

export interface Controls {
  readonly allowed: boolean;
  readonly reason: string | null;
}

interface Fact {
  readonly label: string;
  readonly value: string;
  readonly title?: string;
}

export class Header {
  readonly root = element('header', { class: 'head' });
  /** Its name is the page's heading. */
  private readonly name = element('h1');
  private readonly state = element('span', { class: 'state' });
  private readonly phase = element('span', { class: 'phase' });
  private readonly setting = element('p', { class: 'setting' });
  private readonly bar = element('progress', { class: 'progress', max: 1 });
  private readonly buttons = element('div', { class: 'head-buttons' });
  private readonly facts = element('dl', { class: 'facts' });
  private readonly advice = element('div', { class: 'advice', role: 'status', hidden: true });
  private drawn = { buttons: '', facts: '', advice: '' };

  constructor(private readonly host: HeaderHost) {
    this.root.append(
      element(
        'div',
        { class: 'head-row' },
        element('div', { class: 'head-title' }, this.name, this.state, this.phase),
        this.buttons,
      ),
      this.setting,
      this.bar,
      this.facts,
      this.advice,
    );
  }

  render(run: RunInfo | null, data: RunData | null, controls: Controls, now: number): void {
    this.root.hidden = run === null;
    if (run === null) return;
    setText(this.name, run.name);
    setAttributes(this.name, { title: run.name === run.experiment ? run.name : `${run.name} · ${run.experiment}` });
    const shownState = run.problem === null ? run.state : 'failed';
    setText(this.state, run.problem === null ? stateName(run.state) : text.problemTitle());
    setAttributes(this.state, { 'data-state': shownState });
    setText(this.phase, phaseText(run));
    setText(this.setting, run.setting ?? '');
    this.setting.hidden = run.setting === null;
    const share = run.totalSteps > 0 ? Math.min(1, run.step / run.totalSteps) : 0;
    this.bar.value = share;
    setAttributes(this.bar, { 'aria-label': text.progressLabel(run.name), 'data-state': shownState });
    this.renderButtons(run, controls);
    this.renderFacts(factsOf(run, data));
    this.renderAdvice(run, adviceFor(run, now), controls);
  }

  private renderButtons(run: RunInfo, controls: Controls): void {
    const wanted = run.problem === null ? verbsFor(run) : [];
    const key = JSON.stringify([run.id, wanted, run.pending, controls]);
    if (key === this.drawn.buttons) return;
    this.drawn.buttons = key;
    const focused = this.buttons.contains(document.activeElement);
    this.buttons.replaceChildren(
      ...wanted.map((verb) => {
        const pending = run.pending === verb;
        const { label, busy, shape, look } = VERB[verb];
        const words = pending ? busy() : label();
        const made = button({
          look,
          label: controls.allowed ? words : `${words}: ${controls.reason ?? ''}`,
          text: words,
          icon: icon(shape),
          onClick: () => this.host.control(run.id, verb),
        });
        setAttributes(made, { 'data-verb': verb });
        setDisabled(made, !controls.allowed || run.pending !== null);
        return made;
      }),
    );
    // Pause becomes Resume under the finger that pressed it.
    if (focused) this.buttons.querySelector<HTMLElement>('vscode-button:not([disabled])')?.focus();
  }

  private renderFacts(facts: readonly Fact[]): void {
    const key = JSON.stringify(facts);
    if (key === this.drawn.facts) return;
    this.drawn.facts = key;
    this.facts.replaceChildren(
      ...facts.map(({ label, value, title }) =>
        element('div', { class: 'fact', title: title ?? null }, element('dt', {}, label), element('dd', {}, value)),
      ),
    );
  }

  private renderAdvice(run: RunInfo, advice: Advice | null, controls: Controls): void {
    const key = JSON.stringify([run.id, advice, controls, run.pending]);
    if (key === this.drawn.advice) return;
    this.drawn.advice = key;
    this.advice.hidden = advice === null;
    if (advice === null) {
      this.advice.replaceChildren();
      return;
    }
    setAttributes(this.advice, { 'data-severity': advice.severity });
    this.advice.replaceChildren(
      advice.busy ? progressRing(advice.title) : icon(advice.severity),
      element(
        'div',
        { class: 'advice-text' },
        element('strong', {}, advice.title),
        ' ',
        element('span', {}, advice.text),
      ),
      element(
        'div',
        { class: 'advice-actions' },
        // Resume stands in the header already.
        ...advice.actions.filter((action) => action !== 'resume').map((action) => this.action(run, action)),
      ),
    );
  }

  private action(run: RunInfo, action: AdviceAction): HTMLElement {
    const label = { resume: text.resume, log: text.openLog, folder: text.openFolder, experiment: text.openExperiment }[
      action
    ]();
    return button({
      look: 'secondary',
      label,
      text: label,
      onClick: () => {
        if (action === 'resume') this.host.control(run.id, 'resume');
        else this.host.open(run.id, action);
      },
    });
  }
}

const VERB: Readonly<
  Record<
    ControlVerb,
    {
      readonly label: () => string;
      readonly busy: () => string;
      readonly shape: IconName;
      readonly look: ButtonLook;
    }
  >
> = {
  pause: { label: text.pause, busy: text.pausing, shape: 'pause', look: 'primary' },
  resume: { label: text.resume, busy: text.resuming, shape: 'play', look: 'primary' },
  checkpoint: { label: text.checkpoint, busy: text.checkpointing, shape: 'save', look: 'secondary' },
  stop: { label: text.stop, busy: text.stopping, shape: 'stop', look: 'secondary' },
};

/** What makes sense in a state, most useful first. */
export function verbsFor(run: Pick<RunInfo, 'state'>): readonly ControlVerb[] {
  switch (run.state) {
    case 'running':
      return ['pause', 'checkpoint', 'stop'];
    case 'paused':
      return ['resume', 'checkpoint', 'stop'];
    case 'queued':
    case 'starting':
      return ['stop'];
    case 'stopped':
    case 'failed':
    case 'crashed':
    case 'stale':
      return ['resume'];
    case 'stopping':
    case 'finished':
      return [];
  }
}

function phaseText(run: RunInfo): string {
  const parts = [
    hasNoSteps(run) ? text.noSteps() : text.stepOf(reading(run.step, 'step'), reading(run.totalSteps, 'step')),
  ];
  if (run.phase !== null) {
    const { progress } = run;
    const share =
      progress === null ? '' : ` ${String(Math.floor((100 * progress.done) / Math.max(1, progress.total)))} %`;
    parts.push(`${run.phase}${share}`);
  }
  const live = run.state === 'running' || run.state === 'stopping';
  if (live && run.etaSeconds !== null) parts.push(text.timeLeft(formatSeconds(run.etaSeconds)));
  if (run.attempt > 1) parts.push(text.attempt(run.attempt));
  return parts.join(' · ');
}

/** Newest numbers of the run; those that are not known yet are dashes, so that nothing jumps when they come. */
function factsOf(run: RunInfo, data: RunData | null): Fact[] {
  const last = (column: Parameters<RunData['rows']['column']>[0]) => data?.rows.column(column).at(-1) ?? NaN;
  const device: Fact[] = run.device === null ? [] : [{ label: text.factDevice(), value: run.device }];
  return [
    { label: text.factLoss(), value: reading(last('loss'), 'nats') },
    { label: text.factPerplexity(), value: reading(bestPerplexity(run, data), 'perplexity') },
    { label: text.factGap(), value: reading(gapClosed(run, data), 'share'), title: text.gapExplained() },
    { label: text.factSpeed(), value: reading(last('tokensPerSecond'), 'speed') },
    { label: text.factMemory(), value: reading(last('memoryEngine'), 'bytes') },
    { label: text.factTime(), value: reading(last('elapsed'), 'time') },
    ...device,
  ];
}

/** Of what only rounds, the one measurement that it has. */
function bestPerplexity(run: RunInfo, data: RunData | null): number {
  if (run.best !== null) return run.best.perplexity;
  const kind = data?.evaluations[0]?.kind;
  const last = data?.evaluations.findLast((each) => each.form === 'merged' && each.kind === kind);
  return hasNoSteps(run) ? (last?.perplexity ?? NaN) : NaN;
}

/** (round-to-nearest − best) / (round-to-nearest − float); NaN where one of them is not known or rounding cost nothing. */
function gapClosed(run: RunInfo, data: RunData | null): number {
  const best = bestPerplexity(run, data);
  if (data === null) return NaN;
  const kind = data.evaluations[0]?.kind;
  const of = (form: string) =>
    data.evaluations.findLast((each) => each.form === form && each.kind === kind)?.perplexity ?? NaN;
  const rounded = of('round-to-nearest');
  const cost = rounded - of('float');
  return cost > 0 ? (rounded - best) / cost : NaN;
}
