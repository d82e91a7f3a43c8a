// Frames of a page as Chromium's own tracing tells them: what its main thread did for each, whoever did it (our script, Chart.js,
// style, layout, painting), not only what we have put a clock around.
import type { Browser, Page } from 'playwright-core';

export interface Frames {
  /** Milliseconds of main-thread tasks from the end of one drawn frame to the end of the next. */
  readonly work: number[];
  /** The same in time of the processor: what is left of it when other programs do not stand in the way. */
  readonly cpu: number[];
  /** Milliseconds from one drawn frame to the next, while there was something to draw at each. */
  readonly between: number[];
}

interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  /** Microseconds. */
  readonly ts: number;
  readonly dur?: number;
  readonly tdur?: number;
}

const CATEGORIES = ['toplevel', 'devtools.timeline', 'disabled-by-default-devtools.timeline'];
/** Frames further apart than this had nothing to draw between them (milliseconds). */
const IDLE = 250;

/** What the page's main thread does while `body` runs, frame by frame. */
export async function framesDuring(browser: Browser, page: Page, body: () => Promise<void>): Promise<Frames> {
  await browser.startTracing(page, { categories: CATEGORIES });
  await body();
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString('utf8')) as { traceEvents: TraceEvent[] };
  return framesOf(traceEvents);
}

function framesOf(events: readonly TraceEvent[]): Frames {
  const drawn = events.filter((event) => event.name === 'FireAnimationFrame' && event.ph === 'X');
  const thread = mostFrequent(drawn.map(({ pid, tid }) => `${String(pid)}/${String(tid)}`));
  const onThread = ({ pid, tid }: TraceEvent) => `${String(pid)}/${String(tid)}` === thread;
  const tasks = events
    .filter((event) => event.name === 'RunTask' && event.ph === 'X' && onThread(event))
    .sort((one, other) => one.ts - other.ts);
  if (tasks.length === 0) throw new Error('the trace holds no tasks of the page');
  const starts = drawn
    .filter(onThread)
    .map(({ ts }) => ts)
    .sort((one, other) => one - other);
  const frames: Frames = { work: [], cpu: [], between: [] };
  let [work, cpu, at, last] = [0, 0, 0, NaN];
  for (const { ts, dur = 0, tdur } of tasks) {
    work += dur;
    cpu += tdur ?? dur;
    const before = at;
    while (at < starts.length && (starts[at] ?? NaN) <= ts + dur) at++;
    if (at === before) continue;
    frames.work.push(work / 1000);
    frames.cpu.push(cpu / 1000);
    const gap = (ts - last) / 1000;
    if (gap < IDLE) frames.between.push(gap);
    [work, cpu, last] = [0, 0, ts];
  }
  return frames;
}

function mostFrequent(items: readonly string[]): string | null {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
  return [...counts].sort((one, other) => other[1] - one[1])[0]?.[0] ?? null;
}
