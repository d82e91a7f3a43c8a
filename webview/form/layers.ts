// The list of exceptions (quantization.layers): a card an entry, with the settings it makes and a choice of those it could make.
import { matchesGlob } from '../../src/experiment/linears';
import { element, setAttributes, setText } from '../shared/dom';
import { icon } from '../shared/icons';
import { button, dropdownBox, setDisabled } from '../shared/toolkit';
import { type Control, type ControlHost, type Shown } from './controls';
import { FieldRow, type RowHost } from './field-row';
import { layerFields, type Field } from './fields';
import type { FormProblem, Json, Path } from './protocol';
import { text, titleOf } from './strings';
import { shownValue } from './values';

export interface LayersHost {
  /** Paths below quantization.layers. */
  readonly set: (path: Path, value: Json) => void;
  readonly remove: (path: Path) => void;
  readonly append: (value: Json) => void;
  readonly fix: (problem: FormProblem, fix: number) => void;
  readonly showText: (path: Path) => void;
  readonly problemsAt: (id: string) => readonly FormProblem[];
  /** Full names of the model's linears; empty: not known. */
  readonly linears: () => readonly string[];
}

const FIELDS = layerFields();
/** Entry that "Add Exception" writes: the layer that suffers most at few bits. */
const NEW_ENTRY: Json = { match: '*.down_proj', bits: 4 };

interface Card {
  readonly keys: string;
  readonly root: HTMLElement;
  readonly show: (entry: Readonly<Record<string, unknown>>, shown: Shown) => void;
}

export function layersControl(host: LayersHost): Control {
  const list = element('div', { class: 'layers' });
  const empty = element('p', { class: 'help' }, text.layersEmpty());
  const add = button({
    look: 'secondary',
    label: text.addLayer(),
    text: text.addLayer(),
    icon: icon('add'),
    onClick: () => host.append(NEW_ENTRY),
  });
  let cards: Card[] = [];
  return {
    root: element('div', { class: 'control column' }, list, empty, add),
    show(shown) {
      setDisabled(add, shown.disabled);
      const entries = Array.isArray(shown.value) ? shown.value.map(recordOf) : [];
      empty.hidden = entries.length > 0;
      const next = entries.map((entry, index) => {
        const keys = JSON.stringify(Object.keys(entry).sort());
        const old = cards[index];
        return old?.keys === keys ? old : cardOf(index, entry, keys, host);
      });
      if (next.length !== cards.length || next.some((card, index) => card !== cards[index])) {
        list.replaceChildren(...next.map(({ root }) => root));
      }
      cards = next;
      cards.forEach((card, index) => card.show(entries[index] ?? {}, shown));
    },
  };
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function cardOf(index: number, entry: Readonly<Record<string, unknown>>, keys: string, host: LayersHost): Card {
  const isSet = (field: Field): boolean => field.id === 'match' || Object.hasOwn(entry, field.id);
  const rows = FIELDS.filter(isSet).map((field) => rowOf(field, index, host));
  const absent = FIELDS.filter((field) => !isSet(field));
  const heading = element('h4', {}, text.layerTitle(index + 1));
  const matches = element('span', { class: 'unit' });
  const remove = button({
    look: 'icon',
    label: text.removeLayer(shownValue(entry['match'] ?? index + 1)),
    icon: icon('close'),
    onClick: () => host.remove([index]),
  });
  const choices = [
    { value: '', label: text.layerAdd() },
    ...absent.map(({ id }) => ({ value: id, label: titleOf(id) })),
  ];
  const more = dropdownBox(`${text.layerTitle(index + 1)}: ${text.layerAdd()}`, choices, '', (picked) => {
    const field = absent.find(({ id }) => id === picked);
    if (field !== undefined) host.set([index, field.id], firstValue(field));
  });
  const root = element(
    'div',
    { class: 'layer', role: 'group', 'aria-label': text.layerTitle(index + 1) },
    element('div', { class: 'row-head' }, heading, matches, remove),
    ...rows.map((row) => row.root),
    absent.length === 0 ? null : more,
  );
  return {
    keys,
    root,
    show(now, shown) {
      const linears = host.linears();
      const glob = now['match'];
      const count = typeof glob === 'string' ? linears.filter((name) => matchesGlob(glob, name)).length : 0;
      setText(matches, linears.length === 0 ? '' : text.layerMatches(count));
      setAttributes(root, { 'data-matches': linears.length === 0 ? null : count });
      setDisabled(remove, shown.disabled);
      setDisabled(more, shown.disabled);
      for (const row of rows) {
        const { id } = row.field;
        const problems = host.problemsAt(`quantization.layers[${String(index)}].${id}`);
        row.show({ ...shown, value: now[id], written: id !== 'match', problems, noEffect: null });
      }
    },
  };
}

function rowOf(field: Field, index: number, host: LayersHost): FieldRow {
  const set = (value: Json): void => host.set([index, field.id], value);
  const nothing = (): void => undefined;
  const inner: ControlHost = {
    preview: nothing,
    cancel: nothing,
    commit: set,
    append: nothing,
    removeItem: nothing,
    setItem: nothing,
    pick: nothing,
    refuse: nothing,
    showText: () => host.showText([index, field.id]),
  };
  const rowHost: RowHost = { ...inner, reset: () => host.remove([index, field.id]), fix: host.fix };
  // What an entry does not set stays as it is: taking the key out is its reset.
  const removable: Field = field.id === 'match' ? field : { ...field, defaultValue: null };
  return new FieldRow(removable, rowHost, field.id === 'match' ? {} : { standing: text.layerWithout() });
}

/** What a setting is when it has just been added. */
function firstValue({ content, id }: Field): Json {
  switch (content.kind) {
    case 'number':
      return id === 'bits' ? 4 : id === 'rank' ? 32 : content.instead === null ? null : 1;
    case 'boolean':
      return id === 'skip';
    case 'choice':
    case 'granularity':
      return content.options[0]?.value ?? '';
    default:
      return '';
  }
}
