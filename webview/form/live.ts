// What the settings mean, worked out anew for every movement of a slider: pure, and quick enough for it.
import { withDefaults } from '../../src/experiment/defaults';
import { estimate, suggestionsFor, type Estimate, type Suggestion } from '../../src/experiment/estimate';
import { resolveLinears } from '../../src/experiment/linears';
import { quantizedLinears } from '../../src/experiment/quantized-linears';
import type { Experiment } from '../../src/experiment/schema';
import type { Bounds } from './fields';
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

export function boundsOf(experiment: Experiment, facts: PlanningFacts | null): Bounds {
  const free = { largestRank: Number.POSITIVE_INFINITY, maxPositions: Number.POSITIVE_INFINITY };
  if (facts === null) return free;
  const { shape } = facts;
  try {
    const quantized = quantizedLinears({ shape, linears: resolveLinears(experiment, shape) });
    const sides = quantized.map(({ outputs, inputs }) => Math.min(outputs, inputs));
    return { largestRank: Math.min(...sides), maxPositions: shape.maxPositions };
  } catch (error) {
    if (error instanceof TypeError) return { ...free, maxPositions: shape.maxPositions };
    throw error;
  }
}
