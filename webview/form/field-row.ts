// A field with everything around its control: title, help, default, whether the file sets it, problems with their fixes.
import { element, setAttributes, setText } from '../shared/dom';
import { icon } from '../shared/icons';
import { button, setDisabled } from '../shared/toolkit';
import { controlOf, type Control, type ControlHost, type Shown } from './controls';
import type { NoEffect } from './effects';
import type { Field } from './fields';
import type { FormProblem } from './protocol';
import { nullMeans, text, titleOf } from './strings';
import { shownValue } from './values';

export interface RowHost extends ControlHost {
  readonly reset: () => void;
  readonly fix: (problem: FormProblem, fix: number) => void;
}

export interface RowShown extends Shown {
  /** The key stands in the text. */
  readonly written: boolean;
  readonly problems: readonly FormProblem[];
  /** Nothing comes of the setting; null: it does something. */
  readonly noEffect: NoEffect | null;
}

interface RowOptions {
  /** Instead of the control that the content asks for. */
  readonly control?: (host: ControlHost) => Control;
  /** What is said in place of the default. */
  readonly standing?: string;
}

export class FieldRow {
  readonly root: HTMLElement;
  private readonly control: Control;
  private readonly reset: HTMLElement;
  private readonly mark: HTMLElement;
  private readonly why = element('p', { class: 'why', hidden: true });
  private readonly problems = element('ul', { class: 'problems', hidden: true });
  private refused: string | null = null;
  private shownProblems = '';
  private last: RowShown | null = null;

  constructor(
    readonly field: Field,
    private readonly host: RowHost,
    { control, standing: without }: RowOptions = {},
  ) {
    const inner: ControlHost = { ...host, refuse: (message) => this.refuse(message) };
    this.control = control?.(inner) ?? controlOf(field, inner);
    const title = titleOf(field.id);
    this.why.id = `why-${field.id}`;
    this.reset = button({
      look: 'icon',
      label: text.reset(title),
      icon: icon('reset'),
      onClick: () => host.reset(),
    });
    this.mark = element('span', { class: 'mark' }, text.inFile());
    const help = [field.description, field.hint ?? ''].filter((part) => part !== '').join(' ');
    const standing = without ?? standingOf(field);
    this.root = element(
      'div',
      { class: 'row', role: 'group', 'aria-label': title, 'data-field': field.id },
      element('div', { class: 'row-head' }, element('h3', {}, title), this.mark, this.reset),
      this.why,
      this.control.root,
      element('p', { class: 'help' }, help, ' ', element('span', { class: 'default' }, standing)),
      this.problems,
      this.control.below ?? null,
    );
  }

  show(shown: RowShown): void {
    this.last = shown;
    const { noEffect } = shown;
    // What stands in the file stays in sight, to be taken out or mended.
    this.root.hidden = noEffect !== null && !shown.written && shown.problems.length === 0;
    const isWrong = shown.problems.some(({ severity }) => severity === 'error');
    this.control.show({ ...shown, disabled: shown.disabled || (noEffect !== null && !isWrong) });
    // A warning of the file's own check says the same.
    this.why.hidden = noEffect === null || shown.problems.length > 0;
    if (noEffect !== null) setText(this.why, text.noEffect(noEffect.reason));
    setAttributes(this.root, {
      'data-no-effect': noEffect === null ? null : '',
      'aria-describedby': this.why.hidden ? null : this.why.id,
    });
    const canReset = shown.written && this.field.defaultValue !== undefined;
    this.mark.hidden = !shown.written;
    this.reset.hidden = !canReset;
    setDisabled(this.reset, shown.disabled);
    setAttributes(this.root, { 'data-written': String(shown.written) });
    this.showProblems(shown.problems, shown.disabled);
  }

  private refuse(message: string | null): void {
    this.refused = message;
    if (this.last !== null) this.showProblems(this.last.problems, this.last.disabled);
  }

  private showProblems(problems: readonly FormProblem[], disabled: boolean): void {
    const key = JSON.stringify([problems, this.refused, disabled]);
    if (key === this.shownProblems) return;
    this.shownProblems = key;
    const refused =
      this.refused === null ? [] : [element('li', { 'data-severity': 'error' }, line('error', this.refused))];
    this.problems.replaceChildren(...refused, ...problems.map((problem) => this.problemItem(problem, disabled)));
    const count = refused.length + problems.length;
    this.problems.hidden = count === 0;
    const isWrong = refused.length > 0 || problems.some(({ severity }) => severity === 'error');
    setAttributes(this.root, { 'data-problems': count === 0 ? null : isWrong ? 'error' : 'warning' });
  }

  private problemItem(problem: FormProblem, disabled: boolean): HTMLElement {
    return problemItem(problem, disabled, (fix) => this.host.fix(problem, fix));
  }
}

export function problemItem(problem: FormProblem, disabled: boolean, onFix: (fix: number) => void): HTMLElement {
  const fixes = problem.fixes.map((title, index) => {
    const made = button({ look: 'secondary', label: title, text: title, onClick: () => onFix(index) });
    setDisabled(made, disabled);
    return made;
  });
  return element(
    'li',
    { 'data-severity': problem.severity },
    line(problem.severity, problem.message),
    problem.hint === null ? null : element('p', { class: 'help' }, problem.hint),
    fixes.length === 0 ? null : element('div', { class: 'fixes' }, ...fixes),
  );
}

function line(severity: 'error' | 'warning', message: string): HTMLElement {
  return element('p', { class: 'problem' }, icon(severity), element('span', {}, message));
}

function standingOf({ content, defaultValue, id }: Field): string {
  if (content.kind === 'unknown') return '';
  if (defaultValue === undefined) return text.required();
  return content.kind === 'layers' ? '' : text.defaultIs(shownDefault(defaultValue, id));
}

function shownDefault(value: unknown, id: string): string {
  if (value === '') return '–';
  if (value === null) return nullMeans(id);
  return Array.isArray(value) && value.length === 0 ? text.noFiles() : shownValue(value);
}
