// Quantized activations: none, a preset, or an object of settings with a row for each.
import { activationName, ACTIVATION_PRESETS } from '../../src/experiment/activations';
import type { Experiment } from '../../src/experiment/schema';
import { element, setText } from '../shared/dom';
import type { Choice } from '../shared/toolkit';
import { ChoiceBox, plain, type ContentOf, type Control, type ControlHost } from './controls';
import { noEffect } from './effects';
import { FieldRow, type RowHost } from './field-row';
import type { Field } from './fields';
import { belongs } from './live';
import type { FormProblem, Json } from './protocol';
import { text, titleOf } from './strings';
import { shownValue } from './values';

const NONE = 'none';
const CUSTOM = 'custom';

export interface ActivationsHost {
  /** Of the row of one of the settings. */
  readonly hostOf: (setting: Field) => RowHost;
  readonly problems: () => readonly FormProblem[];
}

export function activationsControl(
  field: Field,
  { presets, settings }: ContentOf<'activations'>,
  host: ControlHost,
  { hostOf, problems }: ActivationsHost,
): Control {
  const choices: Choice[] = [
    { value: NONE, label: text.notQuantized() },
    ...presets.map(plain),
    { value: CUSTOM, label: text.customActivations() },
  ];
  let shown: Json = null;
  /** What an object said before a preset took its place. */
  let left: Json | null = null;
  const kind = new ChoiceBox(titleOf(field.id), choices, (picked) =>
    host.commit(picked === NONE ? null : picked === CUSTOM ? (left ?? beginningAt(shown)) : picked),
  );
  const about = element('p', { class: 'help about' });
  // Their help has the default in its words.
  const rows = settings.map((setting) => new FieldRow(setting, hostOf(setting), { standing: '' }));
  const details = element('div', { class: 'settings' }, ...rows.map(({ root }) => root));
  return {
    root: element('div', { class: 'control column' }, kind.root, about),
    below: details,
    show(now) {
      const { value, experiment } = now;
      shown = value as Json;
      const custom = objectOf(value);
      if (custom !== null) left = custom;
      kind.show(custom !== null ? CUSTOM : value === null ? NONE : shownValue(value), now.disabled);
      const preset = presets.find((each) => each.value === value)?.description ?? '';
      const name = nameOf(experiment);
      setText(about, name === null ? '' : text.activationsAre(name, preset));
      details.hidden = custom === null;
      if (custom === null) return;
      for (const row of rows) {
        const key = row.field.path.at(-1) ?? '';
        const written = Object.hasOwn(custom, key);
        row.show({
          ...now,
          value: written ? custom[key] : row.field.defaultValue,
          written,
          problems: problems().filter((problem) => belongs(problem.path, row.field)),
          noEffect: noEffect(row.field.id, experiment, now.bounds),
        });
      }
    },
  };
}

function objectOf(value: unknown): Readonly<Record<string, Json>> | null {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? (value as Readonly<Record<string, Json>>) : null;
}

/** The settings of a preset, written out; 8 bits where there is none. */
function beginningAt(value: Json): Json {
  const preset = Object.entries(ACTIVATION_PRESETS).find(([name]) => name === value)?.[1];
  return { ...(preset ?? ACTIVATION_PRESETS.a8) };
}

/** `A8KV4`; null where nothing is quantized, or nothing can be said. */
function nameOf(experiment: Experiment): string | null {
  try {
    return activationName(experiment);
  } catch (error) {
    // What the text holds need not be of the right type.
    if (error instanceof TypeError) return null;
    throw error;
  }
}
