// What the settings mean, worked out anew for every movement of a slider: pure, and quick enough for it.
import type { FloatGroup } from '../../native/binding/addon';
import { withDefaults } from '../../src/experiment/defaults';
import { estimate, suggestionsFor, type Estimate, type Suggestion } from '../../src/experiment/estimate';
import { elementsOf, floatParameters } from '../../src/experiment/float-parameters';
import { resolveLinears } from '../../src/experiment/linears';
import { pathText } from '../../src/experiment/problem';
import { quantizedLinears } from '../../src/experiment/quantized-linears';
import type { Experiment } from '../../src/experiment/schema';
import type { Bounds, Field } from './fields';
import type { Json, Path, PlanningFacts } from './protocol';

/** Value at a path; undefined: the key is not there. */
export function valueAt(tree: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (here, segment) =>
      typeof here === 'object' && here !== null && Object.hasOwn(here, segment)
        ? (here as Readonly<Record<string | number, unknown>>)[segment]
        : undefined,
    tree,
  );
}

/** A copy with another value at a path; sections that are missing, or are no sections, are made. */
export function withValue(tree: unknown, path: Path, value: unknown): unknown {
  const [segment, ...rest] = path;
  if (segment === undefined) return value;
  if (Array.isArray(tree)) {
    return tree.map((item: unknown, index) => (index === segment ? withValue(item, rest, value) : item));
  }
  const section = typeof tree === 'object' && tree !== null ? (tree as Readonly<Record<string, unknown>>) : {};
  return { ...section, [segment]: withValue(section[segment], rest, value) };
}

/** Every key filled in. Values are what the text says, right or wrong: only the file's own check tells. */
export function filled(written: Json): Experiment {
  return withDefaults({ model: {}, data: {}, ...sectionOf(written) }) as Experiment;
}

function sectionOf(value: unknown): object {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
}

/** Memory, sizes and time, without suggestions; null where the settings are too wrong for it. */
export function planOf(experiment: Experiment, facts: PlanningFacts): Estimate | null {
  try {
    const { shape, machine, calibration } = facts;
    const result = estimate({ experiment, shape, machine, calibration, withSuggestions: false });
    const numbers = [result.total, result.limit, result.trainingSeconds, result.bitsPerWeight, result.disk.merged];
    return numbers.every(Number.isFinite) && result.total > 0 ? result : null;
  } catch (error) {
    // What the text holds need not be of the right type.
    if (error instanceof TypeError || error instanceof RangeError) return null;
    throw error;
  }
}

/** What would help settings that have a plan, and do not fit. Takes many times as long as the plan. */
export function helpFor(experiment: Experiment, { shape, machine, calibration }: PlanningFacts): readonly Suggestion[] {
  return suggestionsFor({ experiment, shape, machine, calibration });
}

/** A problem stands at the field whose key it names, or at the list or section that it lies in. */
export function belongs(problem: string, { path }: Field): boolean {
  const id = pathText(path);
  return problem === id || problem.startsWith(`${id}[`) || problem.startsWith(`${id}.`);
}

export function boundsOf(experiment: Experiment, facts: PlanningFacts | null): Bounds {
  const free = { largestRank: Number.POSITIVE_INFINITY, maxPositions: Number.POSITIVE_INFINITY, floats: null };
  if (facts === null) return free;
  const { shape } = facts;
  const known = { ...free, maxPositions: shape.maxPositions, floats: floatsOf(shape) };
  try {
    const quantized = quantizedLinears({ shape, linears: resolveLinears(experiment, shape) });
    const sides = quantized.map(({ outputs, inputs }) => Math.min(outputs, inputs));
    return { ...known, largestRank: Math.min(...sides) };
  } catch (error) {
    if (error instanceof TypeError) return known;
    throw error;
  }
}

const sizes = new WeakMap<PlanningFacts['shape'], Bounds['floats']>();

/** How many numbers each group has; 0: a head that is the embedding table. */
function floatsOf(shape: PlanningFacts['shape']): Bounds['floats'] {
  const known = sizes.get(shape);
  if (known !== undefined) return known;
  const none = { norms: false, head: false, embeddings: false };
  const count = (group: FloatGroup): number =>
    floatParameters(shape, { ...none, [group]: true }).reduce((sum, each) => sum + elementsOf(each), 0);
  const counted = {
    norms: count('norms'),
    head: shape.tiedEmbeddings ? 0 : count('head'),
    embeddings: count('embeddings'),
  };
  sizes.set(shape, counted);
  return counted;
}
