// What the settings need: memory by part against the limit, size, bits a weight, time, and what would help where it does not fit.
import type { Estimate, Suggestion } from '../../src/experiment/estimate';
import { formatBytes, formatCount, formatSeconds } from '../../src/experiment/format-numbers';
import { runSeconds } from '../../src/experiment/run-seconds';
import { element, setAttributes, setText } from '../shared/dom';
import { button, setDisabled } from '../shared/toolkit';
import { partName, PARTS, text } from './strings';

interface NeedsHost {
  /** Assignments as `--set` takes them. */
  readonly use: (assignments: readonly string[]) => void;
}

export class Needs {
  readonly root: HTMLElement;
  private readonly message = element('p', { class: 'help' }, text.waiting());
  private readonly bar = element('div', { class: 'bar', role: 'img', hidden: true });
  private readonly limit = element('div', { class: 'limit' });
  private readonly verdict = element('p', { class: 'verdict' });
  private readonly note = element('p', { class: 'help' });
  private readonly body: HTMLElement;
  private readonly segments = new Map(
    PARTS.map((part) => [part, element('div', { class: 'segment-part', 'data-part': part })]),
  );
  private readonly cells = new Map(PARTS.map((part) => [part, element('td', { class: 'numeric' })]));
  private readonly rows = new Map<string, HTMLElement>();
  private readonly facts: Readonly<Record<'size' | 'bits' | 'trained' | 'start' | 'teacher' | 'time' | 'disk', Fact>>;
  private readonly help = element('div', { class: 'helps', hidden: true });
  private readonly end = element('span', { class: 'bar-end', 'aria-hidden': 'true' });
  private helpKey = '';
  private scale = 0;

  constructor(private readonly host: NeedsHost) {
    this.bar.append(...this.segments.values(), this.limit);
    const parts = PARTS.map((part) => {
      const row = element(
        'tr',
        {},
        element('th', { scope: 'row' }, element('span', { class: 'swatch', 'data-part': part }), partName(part)),
        this.cells.get(part) ?? null,
      );
      this.rows.set(part, row);
      return row;
    });
    this.facts = {
      size: new Fact(text.linearsSize()),
      bits: new Fact(text.bitsPerWeight()),
      trained: new Fact(text.trained()),
      start: new Fact(text.start()),
      teacher: new Fact(text.floatModel()),
      time: new Fact(text.time()),
      disk: new Fact(text.disk()),
    };
    this.body = element(
      'div',
      { hidden: true },
      element('h3', {}, text.memory()),
      this.verdict,
      this.bar,
      this.end,
      element(
        'table',
        { class: 'parts' },
        element('caption', { class: 'visually-hidden' }, text.memory()),
        element(
          'thead',
          { class: 'visually-hidden' },
          element(
            'tr',
            {},
            element('th', { scope: 'col' }, text.part()),
            element('th', { scope: 'col' }, text.bytes()),
          ),
        ),
        element('tbody', {}, ...parts),
      ),
      this.note,
      element('dl', { class: 'facts' }, ...Object.values(this.facts).flatMap((fact) => fact.nodes)),
      this.help,
    );
    this.root = element(
      'section',
      { class: 'card needs', 'aria-label': text.needs() },
      element('h2', {}, text.needs()),
      this.message,
      this.body,
    );
  }

  /** @param why shown in place of numbers */
  show(estimate: Estimate | null, why: string): void {
    this.message.hidden = estimate !== null;
    this.body.hidden = this.bar.hidden = estimate === null;
    setText(this.message, why);
    setAttributes(this.root, {
      'data-total': estimate?.total ?? null,
      'data-fits': estimate === null ? null : String(estimate.fits),
    });
    if (estimate === null) return;
    this.showMemory(estimate);
    this.showFacts(estimate);
    this.showAround(estimate);
  }

  private showMemory({ parts, peak, limit, evaluationPeak, startPeak, fits }: Estimate): void {
    const scale = this.scaleFor(peak, limit);
    const onBar = limit <= scale;
    setText(this.end, formatBytes(scale));
    for (const part of PARTS) {
      const bytes = parts[part];
      const isShown = part !== 'host' || bytes > 0;
      this.rows.get(part)?.toggleAttribute('hidden', !isShown);
      const cell = this.cells.get(part);
      if (cell !== undefined) setText(cell, formatBytes(bytes));
      const segment = this.segments.get(part);
      // Memory of the host is no part of the device's.
      if (segment !== undefined) segment.style.flexBasis = `${String(part === 'host' ? 0 : (100 * bytes) / scale)}%`;
    }
    this.limit.hidden = !onBar;
    this.limit.style.left = `${String((100 * limit) / scale)}%`;
    const verdict = fits ? text.fits() : text.tooMuch(formatBytes(peak - limit));
    setText(this.verdict, `${text.memoryOf(formatBytes(peak), formatBytes(limit))}: ${verdict}`);
    setAttributes(this.verdict, { 'data-fits': String(fits) });
    setAttributes(this.bar, { 'aria-label': text.memoryLabel(formatBytes(peak), formatBytes(limit), verdict) });
    const notes = [
      ...(evaluationPeak === null
        ? []
        : [text.longEvaluation(String(evaluationPeak.sequenceLength), formatBytes(evaluationPeak.total))]),
      ...(startPeak === null ? [] : [text.startNeeds(formatBytes(startPeak))]),
    ];
    this.note.hidden = notes.length === 0;
    setText(this.note, notes.join(' '));
  }

  /** Where the bar ends: behind the limit where that is near; else at a power of two, which stays while a slider moves, so that the
   *  bar grows and shrinks and not its scale. */
  private scaleFor(peak: number, limit: number): number {
    if (limit < 4 * peak) return Math.max(peak, limit) * 1.05;
    if (peak > this.scale || peak < this.scale / 8) this.scale = 2 ** Math.ceil(Math.log2(1.3 * peak));
    return this.scale;
  }

  private showFacts(estimate: Estimate): void {
    const { disk, quantizedWeights, bitsPerWeight, trainedParameters } = estimate;
    const before = quantizedWeights * 2;
    this.facts.size.show(
      formatBytes(disk.merged),
      disk.merged > 0 ? text.sizeFrom((before / disk.merged).toFixed(1), formatBytes(before)) : '',
    );
    this.facts.bits.show(bitsPerWeight.toFixed(2), text.withScales());
    this.facts.trained.show(formatCount(trainedParameters), '');
    const { trainingSeconds, secondsPerStep, tokensPerSecond, calibrated } = estimate;
    if (trainingSeconds <= 0) this.facts.time.show('–', text.noTraining());
    else {
      const speed = text.perStep(formatSeconds(secondsPerStep), formatCount(tokensPerSecond));
      this.facts.time.show(
        `≈ ${formatSeconds(trainingSeconds)}`,
        `${speed} · ${calibrated ? text.measured() : text.guessed()}`,
      );
    }
  }

  /** What comes before the first step, and what is written. */
  private showAround({ startSeconds, teacherSeconds, disk }: Estimate): void {
    const { start, teacher } = this.facts;
    start.toggle(startSeconds !== 0);
    start.show(startSeconds === null ? text.unknownTime() : `≈ ${formatSeconds(startSeconds)}`, text.onceBefore());
    teacher.toggle(disk.teacher > 0);
    teacher.show(
      `≈ ${formatSeconds(teacherSeconds)}`,
      `${text.onceBefore()}; ${text.teacherFile(formatBytes(disk.teacher))}`,
    );
    this.facts.disk.show(
      formatBytes(disk.total),
      text.diskParts(disk.checkpoints, formatBytes(disk.checkpoint), formatBytes(disk.merged)),
    );
  }

  /** What would make it fit. */
  showHelp(suggestions: readonly Suggestion[], disabled: boolean): void {
    const key = JSON.stringify([suggestions.map(({ title, least }) => [title, least]), disabled]);
    if (key === this.helpKey) return;
    this.helpKey = key;
    this.help.hidden = suggestions.length === 0;
    const items = suggestions.slice(0, 5).map(({ title, least, fits, set }) => {
      const use = button({
        look: 'secondary',
        label: text.useSuggestion(title),
        text: text.use(),
        onClick: () => this.host.use(set),
      });
      setDisabled(use, disabled);
      return element('li', {}, element('span', {}, text.suggestion(title, formatBytes(least), fits)), use);
    });
    this.help.replaceChildren(element('h3', {}, text.helps()), element('ul', {}, ...items));
  }
}

/** On one line. */
export function summaryOf({ peak, limit, fits, bitsPerWeight, ...times }: Estimate): string {
  const seconds = runSeconds(times);
  const verdict = fits ? text.fits() : text.tooMuch(formatBytes(peak - limit));
  return text.summary(
    `${formatBytes(peak)}, ${verdict}`,
    bitsPerWeight.toFixed(2),
    seconds > 0 ? `≈ ${formatSeconds(seconds)}` : '',
  );
}

class Fact {
  private readonly value = element('span', { class: 'fact-value' });
  private readonly about = element('span', { class: 'help' });
  readonly nodes: readonly HTMLElement[];

  toggle(isShown: boolean): void {
    for (const node of this.nodes) node.hidden = !isShown;
  }

  constructor(title: string) {
    this.nodes = [element('dt', {}, title), element('dd', {}, this.value, ' ', this.about)];
  }

  show(value: string, about: string): void {
    setText(this.value, value);
    setText(this.about, about);
  }
}
