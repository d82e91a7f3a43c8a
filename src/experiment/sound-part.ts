// What is left of an experiment some of whose keys or values are wrong, so that all its problems can be told at once: with the
// model, the texts and the machine the sound part is checked like a whole experiment.

import { Errors } from '@sinclair/typebox/errors';

import { withDefaults } from './defaults';
import type { Redirect } from './document';
import { pathText, type KeyPath } from './problem';
import { ExperimentSchema, type Experiment } from './schema';
import { pathOf, type WrongKey } from './schema-problems';

export interface SoundPart {
  /** Defaults stand in for what is wrong; a misspelt key counts as the one that was meant. */
  readonly experiment: Experiment;
  /** Where the values of misspelt keys stand. */
  readonly redirects: readonly Redirect[];
  /** Paths with an error. What depends on one of them must not be told: it would be about a default. */
  readonly broken: readonly string[];
}

type Section = Record<string, unknown>;

/** @returns undefined when a key that has no default is missing or wrong */
export function soundPart(written: Section, wrong: readonly WrongKey[]): SoundPart | undefined {
  const rest = structuredClone(written);
  const redirects: Redirect[] = [];
  const broken = new Set<string>();
  for (const { path, meant } of wrong) {
    const section = sectionAt(rest, path.slice(0, -1));
    const value = section?.[String(path.at(-1))];
    remove(rest, path);
    const key = String(meant?.at(-1));
    if (meant !== undefined && section !== undefined && !Object.hasOwn(section, key)) {
      section[key] = value;
      redirects.push({ from: meant, to: path });
    } else broken.add(pathText(path));
  }
  // Once more for what was written under misspelt keys.
  for (const { path } of errorsOf(withDefaults(rest))) {
    remove(rest, path);
    broken.add(pathText(path));
  }
  const experiment = withDefaults(rest);
  return errorsOf(experiment).length > 0
    ? undefined
    : { experiment: experiment as Experiment, redirects, broken: [...broken] };
}

/** Whether one of the `broken` paths is `key`, lies in it or around it. */
export function touches(broken: readonly string[], key: string): boolean {
  return broken.some((path) => path === key || startsInside(path, key) || startsInside(key, path));
}

function startsInside(path: string, section: string): boolean {
  return path.startsWith(`${section}.`) || path.startsWith(`${section}[`);
}

function errorsOf(value: unknown): WrongKey[] {
  return [...Errors(ExperimentSchema, value)].map((error) => ({ path: pathOf(error.path, value) }));
}

function sectionAt(root: Section, path: KeyPath): Section | undefined {
  let here: unknown = root;
  for (const segment of path) here = isSection(here) ? here[String(segment)] : undefined;
  return isSection(here) ? here : undefined;
}

const isSection = (value: unknown): value is Section => typeof value === 'object' && value !== null;

/** An element of a list goes with the whole list: the places of the others must not change. */
function remove(root: Section, path: KeyPath): void {
  const last = path.findLastIndex((segment) => typeof segment === 'string');
  const section = sectionAt(root, path.slice(0, last));
  if (section !== undefined) Reflect.deleteProperty(section, String(path[last]));
}
