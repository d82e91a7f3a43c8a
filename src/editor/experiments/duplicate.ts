// A new experiment file from what a run has frozen: only what differs from the defaults, paths relative to the new file. Pure.
import path from 'node:path';
import type { Experiment } from '../../experiment';
import { withDefaults } from '../../experiment/defaults';

type Plain = null | boolean | number | string | readonly Plain[] | PlainRecord;

interface PlainRecord {
  readonly [key: string]: Plain;
}

/** @param folder of the new file
 *  @param source name of the run, for the comment */
export function duplicateText(experiment: Experiment, folder: string, name: string, source: string): string {
  const relative = (file: string): string => {
    const short = path.relative(folder, file);
    // What lies elsewhere stays absolute: a chain of .. breaks with the first move.
    return short === '' || short.startsWith(`..${path.sep}..`) || path.isAbsolute(short)
      ? file
      : short.split(path.sep).join('/');
  };
  const file = (value: string): string => (path.isAbsolute(value) ? relative(value) : value);
  const { model, data, evaluation } = experiment;
  const moved = {
    ...experiment,
    name,
    model: { ...model, path: file(model.path) },
    data: { ...data, train: data.train.map(file), validation: data.validation.map(file) },
    evaluation: {
      ...evaluation,
      wikitext: { ...evaluation.wikitext, files: evaluation.wikitext.files.map(file) },
    },
  };
  // Empty where there is no default: what is required is always written.
  const base = withDefaults({ model: { path: '' }, data: { train: [] } }) as Plain;
  return `// Made from the run ${source}.\n${JSON.stringify(difference(moved, base), null, 2)}\n`;
}

/** What of `value` is not in `base`; undefined: nothing. Lists and alternatives are taken whole. */
function difference(value: Plain, base: Plain | undefined): Plain | undefined {
  if (JSON.stringify(value) === JSON.stringify(base)) return undefined;
  if (!isRecord(value) || !isRecord(base)) return value;
  const entries = Object.entries(value).flatMap(([key, content]): [string, Plain][] => {
    const changed = difference(content, base[key]);
    return changed === undefined ? [] : [[key, changed]];
  });
  return Object.fromEntries(entries);
}

function isRecord(value: Plain | undefined): value is PlainRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `w2-rank32` → `w2-rank32-2`, the first number that is free. */
export function nextName(name: string, isTaken: (name: string) => boolean): string {
  const stem = name.replace(/-\d+$/, '');
  for (let number = 2; ; number++) {
    const candidate = `${stem}-${String(number)}`;
    if (!isTaken(candidate)) return candidate;
  }
}
