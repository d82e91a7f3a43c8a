// One control for each kind of content. A control shows what the text says, however wrong, and tells what the user wants; it
// keeps no value of its own.
import type { FloatGroup } from '../../native/binding/addon';
import { formatBytes, formatCount } from '../../src/experiment/format-numbers';
import type { Experiment } from '../../src/experiment/schema';
import { element, setAttributes, setText } from '../shared/dom';
import { icon } from '../shared/icons';
import {
  button,
  checkbox,
  dropdownBox,
  isChecked,
  setChecked,
  setDisabled,
  setValue,
  textField,
  valueOf,
  type Choice,
} from '../shared/toolkit';
import { nearestStop, numberAt, sliderStops, type Bounds, type Content, type Field } from './fields';
import type { Json } from './protocol';
import { Slider } from './slider';
import { nullMeans, text, titleOf } from './strings';
import { numberOf, shownValue } from './values';

/** What a control may ask for. Paths are below the field's. */
export interface ControlHost {
  /** While a slider moves: nothing is written. */
  readonly preview: (value: Json) => void;
  readonly cancel: () => void;
  readonly commit: (value: Json) => void;
  readonly append: (value: Json) => void;
  readonly removeItem: (index: number) => void;
  readonly setItem: (index: number, value: string) => void;
  readonly pick: (what: 'model' | 'files') => void;
  readonly showText: () => void;
  /** What was typed cannot be a value of the field; null: it can. Nothing is written. */
  readonly refuse: (message: string | null) => void;
}

export interface Shown {
  /** What the text says, or the default. */
  readonly value: unknown;
  readonly disabled: boolean;
  readonly experiment: Experiment;
  readonly bounds: Bounds;
}

export interface Control {
  readonly root: HTMLElement;
  /** Of what is inside: it stands below the help of the whole. */
  readonly below?: HTMLElement;
  show(shown: Shown): void;
}

export type ContentOf<Kind extends Content['kind']> = Extract<Content, { kind: Kind }>;

export function controlOf(field: Field, host: ControlHost): Control {
  const { content } = field;
  switch (content.kind) {
    case 'number':
      return numberControl(field, content, host);
    case 'switched':
      return switchedControl(field, content, host);
    case 'choice':
      return choiceControl(field, content, host);
    case 'choices':
      return choicesControl(content, host);
    case 'boolean':
      return booleanControl(field, host);
    case 'text':
      return textControl(field, host, (typed) => typed);
    case 'textOrNumber':
      // Digits alone are a number of the field's unit.
      return textControl(field, host, (typed) => (/^\d+$/.test(typed) ? Number(typed) : typed));
    case 'model':
      return modelControl(field, host);
    case 'files':
      return filesControl(field, host);
    case 'granularity':
      return granularityControl(field, content, host);
    // Two that need a host of their own for what is inside (form.ts).
    case 'activations':
    case 'layers':
    case 'unknown':
      return unknownControl(host);
  }
}

/** Does not take a text away from under the fingers of who is typing it. */
function showTyped(box: HTMLElement, value: string): void {
  const isTyping = document.activeElement === box && valueOf(box) !== box.dataset['shown'];
  if (isTyping && box.dataset['shown'] === value) return;
  box.dataset['shown'] = value;
  setValue(box, value);
}

function numberControl(
  field: Field,
  { integer, instead }: ContentOf<'number'>,
  host: ControlHost,
  title = titleOf(field.id),
): Control {
  const word = instead === null ? nullMeans(field.id) : instead;
  const box = textField(title, '', (typed) => {
    const said = typed.trim().toLowerCase();
    if (instead !== undefined && ['', String(instead), word].includes(said)) {
      host.refuse(null);
      host.commit(instead);
      return;
    }
    const value = numberOf(typed, integer);
    host.refuse(value === null ? text.notThis(JSON.stringify(typed), field.allowed) : null);
    if (value !== null) host.commit(value);
  });
  box.classList.add('number');
  let stops: readonly number[] = [];
  const slider = new Slider(title, {
    onMove: (index) => host.preview(stops[index] ?? 0),
    onRelease: (index) => host.commit(stops[index] ?? 0),
    onCancel: host.cancel,
    textOf: (index) => `${shownValue(stops[index])}${field.unit === null ? '' : ` ${field.unit}`}`,
  });
  const unit = element('span', { class: 'unit' }, field.unit ?? '');
  const root = element('div', { class: 'control' }, slider.root, box, unit);
  return {
    root,
    show({ value, disabled, experiment, bounds }) {
      const wanted = sliderStops(field.id, experiment, bounds);
      slider.root.hidden = wanted === null || wanted.length < 2;
      stops = wanted ?? [];
      if (wanted !== null)
        slider.show(nearestStop(stops, numberAt(field.id, value, experiment)), stops.length, disabled);
      showTyped(box, instead === null && value === null ? '' : shownValue(value));
      setAttributes(box, { placeholder: word ?? null });
      setDisabled(box, disabled);
    },
  };
}

/** A check box, and the number while it is on. The number that was switched off comes back when it is switched on again. */
function switchedControl(field: Field, { off, on }: ContentOf<'switched'>, host: ControlHost): Control {
  const title = titleOf(field.id);
  const words = text.switchedNumber(field.id);
  let isOn = false;
  let last: Json = on;
  const box = checkbox({
    label: title,
    title,
    checked: false,
    onChange(checked) {
      if (checked !== isOn) host.commit(checked ? last : off);
    },
  });
  const number = numberControl(
    { ...field, unit: words.unit },
    { kind: 'number', integer: false, instead: undefined },
    host,
    words.label,
  );
  const about = element('span', { class: 'unit' });
  return {
    root: element('div', { class: 'control' }, box, number.root, about),
    show(shown) {
      const { value, disabled, bounds } = shown;
      // The trainer takes null and 0 alike.
      isOn = value !== null && value !== 0;
      if (isOn && typeof value === 'number') last = value;
      setChecked(box, isOn);
      setDisabled(box, disabled);
      number.root.hidden = !isOn;
      if (isOn) number.show(shown);
      const count = bounds.floats?.[groupOf(field)];
      about.hidden = count === undefined;
      if (count !== undefined)
        setText(about, text.trainedNumbers(formatCount(count), formatBytes(count * TRAINED_BYTES)));
    },
  };
}

/** Of a number that is trained: itself, its gradient and two moments, float32. */
const TRAINED_BYTES = 16;

/** Keys of the groups are their names; of other switches nothing is counted. */
function groupOf({ path }: Field): FloatGroup {
  return path.at(-1) as FloatGroup;
}

function choiceControl(field: Field, { options }: ContentOf<'choice'>, host: ControlHost): Control {
  const box = new ChoiceBox(titleOf(field.id), options.map(plain), (value) => host.commit(value));
  const about = element('p', { class: 'help about' });
  return {
    root: element('div', { class: 'control column' }, box.root, about),
    show({ value, disabled }) {
      box.show(shownValue(value), disabled);
      setText(about, options.find((option) => option.value === value)?.description ?? '');
    },
  };
}

export const plain = ({ value }: { readonly value: string }): Choice => ({ value, label: value });

/** A drop-down that also shows a value which is none of its choices. */
export class ChoiceBox {
  readonly root = element('span', { class: 'choice' });
  private box: HTMLElement | null = null;
  private key = '';

  constructor(
    private readonly label: string,
    private readonly choices: readonly Choice[],
    private readonly onChange: (value: string) => void,
  ) {}

  show(value: string, disabled: boolean): void {
    const isKnown = this.choices.some((choice) => choice.value === value);
    const key = isKnown ? '' : value;
    if (this.box === null || this.key !== key) {
      this.key = key;
      const choices = isKnown ? this.choices : [...this.choices, { value, label: value }];
      this.box = dropdownBox(this.label, choices, value, (picked) => {
        if (picked !== this.box?.dataset['shown']) this.onChange(picked);
      });
      this.root.replaceChildren(this.box);
    }
    this.box.dataset['shown'] = value;
    setValue(this.box, value);
    setDisabled(this.box, disabled);
  }
}

function choicesControl({ options }: ContentOf<'choices'>, host: ControlHost): Control {
  let shown: readonly unknown[] = [];
  const boxes = options.map(({ value, description }) => ({
    value,
    box: checkbox({
      label: value,
      title: description,
      checked: false,
      onChange(checked) {
        // The toolkit's box tells of what we set as well: only what the text does not say yet is the user's.
        if (checked !== shown.includes(value)) {
          host.commit(boxes.filter(({ box }) => isChecked(box)).map((each) => each.value));
        }
      },
    }),
  }));
  return {
    root: element(
      'div',
      { class: 'control column' },
      ...options.map(({ description }, at) =>
        element(
          'div',
          { class: 'choice-line' },
          boxes[at]?.box ?? null,
          element('span', { class: 'help' }, description),
        ),
      ),
    ),
    show({ value, disabled }) {
      shown = Array.isArray(value) ? value : [];
      for (const { value: each, box } of boxes) {
        setChecked(box, shown.includes(each));
        setDisabled(box, disabled);
      }
    },
  };
}

function booleanControl(field: Field, host: ControlHost): Control {
  const title = titleOf(field.id);
  let shown = false;
  const box = checkbox({
    label: title,
    title,
    checked: false,
    onChange(checked) {
      if (checked !== shown) host.commit(checked);
    },
  });
  return {
    root: element('div', { class: 'control' }, box),
    show({ value, disabled }) {
      shown = value === true;
      setChecked(box, shown);
      setDisabled(box, disabled);
    },
  };
}

function textControl(field: Field, host: ControlHost, read: (typed: string) => Json): Control {
  const box = textField(titleOf(field.id), '', (typed) => host.commit(read(typed.trim())));
  return {
    root: element('div', { class: 'control' }, box),
    show({ value, disabled }) {
      showTyped(box, shownValue(value));
      setDisabled(box, disabled);
    },
  };
}

function modelControl(field: Field, host: ControlHost): Control {
  const box = textField(titleOf(field.id), '', (typed) => host.commit(typed.trim()));
  const pick = button({
    look: 'secondary',
    label: text.pickModel(),
    text: text.pickModel(),
    onClick: () => host.pick('model'),
  });
  return {
    root: element('div', { class: 'control wide' }, box, pick),
    show({ value, disabled }) {
      showTyped(box, shownValue(value));
      setDisabled(box, disabled);
      setDisabled(pick, disabled);
    },
  };
}

function filesControl(field: Field, host: ControlHost): Control {
  const list = element('ul', { class: 'files' });
  const add = button({
    look: 'secondary',
    label: `${titleOf(field.id)}: ${text.addFiles()}`,
    text: text.addFiles(),
    onClick: () => host.pick('files'),
  });
  const typed = textField(`${titleOf(field.id)}: ${text.addPath()}`, '', (value) => {
    setValue(typed, '');
    if (value.trim() !== '') host.append(value.trim());
  });
  setAttributes(typed, { placeholder: text.addPath() });
  let shown = '';
  return {
    root: element('div', { class: 'control column' }, list, element('div', { class: 'control wide' }, typed, add)),
    show({ value, disabled }) {
      setDisabled(add, disabled);
      setDisabled(typed, disabled);
      const items = Array.isArray(value) ? value.map(shownValue) : [];
      const key = JSON.stringify([items, disabled]);
      if (key === shown) return;
      shown = key;
      list.replaceChildren(
        ...items.map((item, index) => {
          const box = textField(`${titleOf(field.id)} ${String(index + 1)}`, item, (next) =>
            next.trim() === '' ? host.removeItem(index) : host.setItem(index, next.trim()),
          );
          const remove = button({
            look: 'icon',
            label: text.removeItem(item),
            icon: icon('close'),
            onClick: () => host.removeItem(index),
          });
          setDisabled(box, disabled);
          setDisabled(remove, disabled);
          return element('li', {}, box, remove);
        }),
      );
      list.hidden = items.length === 0;
    },
  };
}

const GROUP = 'group';
const GROUP_SIZE = 128;

function granularityControl(
  field: Field,
  { options, groupDescription }: ContentOf<'granularity'>,
  host: ControlHost,
): Control {
  const title = titleOf(field.id);
  const choices = [...options.map(plain), { value: GROUP, label: text.byGroup() }];
  const kind = new ChoiceBox(title, choices, (value) => host.commit(value === GROUP ? { group: GROUP_SIZE } : value));
  const size = textField(text.groupSize(), '', (typed) => {
    const value = numberOf(typed, true);
    host.refuse(value === null ? text.notThis(JSON.stringify(typed), field.allowed) : null);
    if (value !== null) host.commit({ group: value });
  });
  size.classList.add('number');
  const unit = element('span', { class: 'unit' }, text.groupSize());
  const about = element('p', { class: 'help about' });
  return {
    root: element(
      'div',
      { class: 'control column' },
      element('div', { class: 'control' }, kind.root, size, unit),
      about,
    ),
    show({ value, disabled }) {
      const group = typeof value === 'object' && value !== null && GROUP in value ? value.group : undefined;
      kind.show(group === undefined ? shownValue(value) : GROUP, disabled);
      size.hidden = unit.hidden = group === undefined;
      showTyped(size, shownValue(group));
      setDisabled(size, disabled);
      const words = options.find((option) => option.value === value)?.description;
      setText(about, words ?? (group === undefined ? '' : groupDescription));
    },
  };
}

function unknownControl(host: ControlHost): Control {
  const value = element('code', {});
  const edit = button({ look: 'secondary', label: text.editInText(), text: text.editInText(), onClick: host.showText });
  return {
    root: element('div', { class: 'control' }, value, edit),
    show: (shown) => setText(value, shownValue(shown.value)),
  };
}
