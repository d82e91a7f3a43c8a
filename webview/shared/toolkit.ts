// Buttons, drop-downs and check boxes that look like VS Code's own. The only file that knows which toolkit they come from.
import {
  provideVSCodeDesignSystem,
  vsCodeButton,
  vsCodeCheckbox,
  vsCodeDropdown,
  vsCodeOption,
  vsCodeProgressRing,
  vsCodeTextField,
} from '@vscode/webview-ui-toolkit';
import { element, setAttributes } from './dom';

export function registerToolkit(): void {
  provideVSCodeDesignSystem().register(
    vsCodeButton(),
    vsCodeCheckbox(),
    vsCodeDropdown(),
    vsCodeOption(),
    vsCodeProgressRing(),
    vsCodeTextField(),
  );
}

export type ButtonLook = 'primary' | 'secondary' | 'icon';

export interface ButtonOptions {
  readonly look: ButtonLook;
  /** What a screen reader says, and the tool tip of a button with an icon alone. */
  readonly label: string;
  readonly icon?: Element;
  /** Visible text; none: the icon says it. */
  readonly text?: string;
  readonly onClick: () => void;
}

export function button({ look, label, icon, text, onClick }: ButtonOptions): HTMLElement {
  const made = document.createElement('vscode-button');
  setAttributes(made, { appearance: look, 'aria-label': label, title: text === label ? null : label });
  if (icon !== undefined) {
    // With text the icon has the slot before it.
    if (text !== undefined) icon.setAttribute('slot', 'start');
    made.append(icon);
  }
  if (text !== undefined) made.append(text);
  made.addEventListener('click', onClick);
  return made;
}

/** A button that stays pressed. */
export function setPressed(target: HTMLElement, pressed: boolean): void {
  setAttributes(target, { 'aria-pressed': String(pressed), 'data-pressed': pressed });
}

export function setDisabled(target: HTMLElement, disabled: boolean): void {
  setAttributes(target, { disabled });
}

export interface CheckboxOptions {
  readonly label: string;
  readonly title: string;
  readonly checked: boolean;
  readonly onChange: (checked: boolean) => void;
}

export function checkbox({ label, title, checked, onChange }: CheckboxOptions): HTMLElement {
  const made = document.createElement('vscode-checkbox');
  setAttributes(made, { title, checked });
  made.append(label);
  made.addEventListener('change', () => onChange(isChecked(made)));
  return made;
}

export function isChecked(target: HTMLElement): boolean {
  return 'checked' in target && target.checked === true;
}

export function setChecked(target: HTMLElement, checked: boolean): void {
  if ('checked' in target && target.checked !== checked) target.checked = checked;
}

export interface Choice {
  readonly value: string;
  readonly label: string;
}

/** A drop-down whose visible label stands elsewhere. */
export function dropdownBox(
  label: string,
  choices: readonly Choice[],
  selected: string,
  onChange: (value: string) => void,
): HTMLElement {
  const made = document.createElement('vscode-dropdown');
  setAttributes(made, { 'aria-label': label });
  for (const { value, label: text } of choices) {
    const option = document.createElement('vscode-option');
    setAttributes(option, { value, selected: value === selected });
    option.append(text);
    made.append(option);
  }
  made.addEventListener('change', () => {
    onChange(valueOf(made));
  });
  return made;
}

/** A drop-down with a visible label. */
export function dropdown(
  label: string,
  choices: readonly Choice[],
  selected: string,
  onChange: (value: string) => void,
): HTMLElement {
  const made = dropdownBox(label, choices, selected, onChange);
  return element('label', { class: 'field' }, element('span', { class: 'field-label' }, label), made);
}

/** A line of text; its visible label stands elsewhere. `onChange`: when it is left or Enter is pressed with another text. */
export function textField(label: string, value: string, onChange: (value: string) => void): HTMLElement {
  const made = document.createElement('vscode-text-field');
  setAttributes(made, { 'aria-label': label, value });
  made.addEventListener('change', () => onChange(valueOf(made)));
  return made;
}

/** Of a text field or a drop-down. */
export function valueOf(target: HTMLElement): string {
  return 'value' in target && typeof target.value === 'string' ? target.value : '';
}

export function setValue(target: HTMLElement, value: string): void {
  if ('value' in target && target.value !== value) target.value = value;
}

export function progressRing(label: string): HTMLElement {
  const made = document.createElement('vscode-progress-ring');
  setAttributes(made, { 'aria-label': label });
  return made;
}
