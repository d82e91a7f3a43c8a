// Event lines as a reader should see them: damaged lines skipped, events undone by a resume dropped.
import { stepOf, type LayersEvent, type MetricsEvent } from './events';

type AnyEvent = MetricsEvent | LayersEvent;

const METRICS_TYPES: ReadonlySet<string> = new Set(['start', 'attempt', 'step', 'eval', 'checkpoint', 'resume', 'end']);
const LAYERS_TYPES: ReadonlySet<string> = new Set(['layer', 'resume']);

/** The event of a line, or null: a line cut short by a crash, or of a type that a later version has added. */
export function parseMetricsLine(line: string): MetricsEvent | null {
  return parseLine(line, METRICS_TYPES) as MetricsEvent | null;
}

export function parseLayersLine(line: string): LayersEvent | null {
  return parseLine(line, LAYERS_TYPES) as LayersEvent | null;
}

function parseLine(line: string, types: ReadonlySet<string>): unknown {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  if (!('type' in value) || typeof value.type !== 'string' || !types.has(value.type)) return null;
  if (value.type === 'resume') return 'fromStep' in value && Number.isInteger(value.fromStep) ? value : null;
  const hasStep =
    value.type === 'step' || value.type === 'eval' || value.type === 'checkpoint' || value.type === 'layer';
  return hasStep && !('step' in value && Number.isInteger(value.step)) ? null : value;
}

/** The events that count, given all that were written, in file order: `resume` takes back what came after its step, and an
 *  evaluation that was made again replaces the earlier one. */
export function effectiveEvents<Event extends AnyEvent>(written: readonly Event[]): Event[] {
  const log = new EventLog<Event>();
  for (const event of written) log.add(event);
  return [...log.events];
}

/** {@link effectiveEvents} for events that arrive one by one. */
export class EventLog<Event extends AnyEvent> {
  private kept: Event[] = [];
  /** Position in `kept` of each evaluation. */
  private readonly evaluations = new Map<string, number>();

  get events(): readonly Event[] {
    return this.kept;
  }

  /** Returns whether earlier events were changed or dropped, so that a chart must be redrawn rather than extended. */
  add(event: Event): boolean {
    if (event.type === 'resume') return this.takeBack(event, event.fromStep);
    if (event.type === 'eval') {
      const key = `${String(event.step)}/${event.kind}/${event.form}`;
      const at = this.evaluations.get(key);
      if (at !== undefined) {
        this.kept[at] = event;
        return true;
      }
      this.evaluations.set(key, this.kept.length);
    }
    this.kept.push(event);
    return false;
  }

  clear(): void {
    this.kept = [];
    this.evaluations.clear();
  }

  private takeBack(resume: Event, fromStep: number): boolean {
    const before = this.kept.length;
    const kept = this.kept.filter((event) => (stepOf(event) ?? 0) <= fromStep && event.type !== 'end');
    this.clear();
    for (const event of kept) this.add(event);
    const dropped = this.kept.length < before;
    this.kept.push(resume);
    return dropped;
  }
}
