// Three ways to show a run as it happens: one live line on a terminal, plain lines elsewhere, events for programs.
import { Format, MultiBar, type Options } from 'cli-progress';
import { EventLog, type DerivedState, type MetricsEvent, type RunUpdate, type StepEvent } from '../runs';
import { eventLine, liveLine, stepLine, type LiveView } from './progress-text';
import type { Terminal } from './terminal';

export interface RunView {
  /** What has happened before this command; known, not shown. */
  begin(events: readonly MetricsEvent[]): void;
  update(update: RunUpdate): void;
  /** Something lrqat itself has to say. */
  note(text: string): void;
  close(): void;
}

export interface ViewOptions {
  readonly output: Terminal;
  /** For notes where `output` is for programs. */
  readonly messages: Terminal;
  readonly stream: NodeJS.WriteStream;
  readonly json: boolean;
}

export function viewFor(options: ViewOptions): RunView {
  if (options.json) return new JsonView(options.output, options.messages);
  return options.output.interactive ? new LiveLineView(options.output, options.stream) : new PlainView(options.output);
}

/** Keeps the events that count, and says which changes of state are worth a line. */
class Course {
  readonly log = new EventLog<MetricsEvent>();
  private state: DerivedState | null = null;
  private phase: string | null = null;

  /** A line for an event that is worth one. */
  add(event: MetricsEvent): string | null {
    const line = eventLine(event, this.log.events);
    this.log.add(event);
    return line;
  }

  /** The new state in words when it has changed into one that a reader should know of. */
  stateLine({ state, status }: RunUpdate): string | null {
    const changed = state !== this.state;
    this.state = state;
    if (!changed) return null;
    if (state === 'paused') return `paused at step ${String(status.step)} (lrqat resume goes on)`;
    if (state === 'stale') return 'no sign from the host of this run for a minute';
    return null;
  }

  /** The new phase when it has changed. */
  phaseLine({ state, status }: RunUpdate): string | null {
    const phase = state === 'starting' || state === 'running' || state === 'stopping' ? status.phase : null;
    const changed = phase !== this.phase;
    this.phase = phase;
    return changed ? phase : null;
  }
}

class PlainView implements RunView {
  /** Milliseconds between step lines: a log of a million steps should stay readable. All of them are in metrics.jsonl. */
  private static readonly STEP_INTERVAL = 2_000;
  private readonly course = new Course();
  private lastStepLine = -Infinity;

  constructor(private readonly output: Terminal) {}

  begin(events: readonly MetricsEvent[]): void {
    for (const event of events) this.course.add(event);
  }

  update(update: RunUpdate): void {
    const phase = this.course.phaseLine(update);
    if (phase !== null) this.output.line(`${phase} …`);
    if (update.reset) this.course.log.clear();
    for (const event of update.events) {
      if (event.type === 'step') this.step(event, update, event.step >= update.status.totalSteps);
      const line = this.course.add(event);
      if (line !== null) this.output.line(line);
    }
    const state = this.course.stateLine(update);
    if (state !== null) this.output.line(state);
  }

  note(text: string): void {
    this.output.line(text);
  }

  close(): void {
    // Nothing is held.
  }

  private step(event: StepEvent, update: RunUpdate, force: boolean): void {
    const now = performance.now();
    if (!force && event.step !== 1 && event.skipped !== true && now - this.lastStepLine < PlainView.STEP_INTERVAL)
      return;
    this.lastStepLine = now;
    this.output.line(stepLine(event, update.status));
  }
}

/** cli-progress draws and redraws; with one bar of its multi-bar, because that one can print lines above the bar. */
class LiveLineView implements RunView {
  private readonly course = new Course();
  private readonly bars: MultiBar;
  private view: LiveView | null = null;
  private closed = false;
  private lastStep: StepEvent | null = null;

  constructor(
    private readonly output: Terminal,
    stream: NodeJS.WriteStream,
  ) {
    this.bars = new MultiBar({
      stream,
      fps: 8,
      hideCursor: true,
      clearOnComplete: true,
      // The bar is never wider than the terminal, and the lines above it shall wrap.
      linewrap: true,
      // Lines printed above the bar leave its row empty.
      forceRedraw: true,
      barCompleteChar: '█',
      barIncompleteChar: '░',
      gracefulExit: false,
      format: (options) => this.line(options),
    });
    this.bars.create(1, 0);
  }

  begin(events: readonly MetricsEvent[]): void {
    for (const event of events) this.course.add(event);
  }

  update(update: RunUpdate): void {
    if (update.reset) this.course.log.clear();
    const lines: string[] = [];
    for (const event of update.events) {
      if (event.type === 'step') this.lastStep = event;
      const line = this.course.add(event);
      if (line !== null) lines.push(line);
    }
    const state = this.course.stateLine(update);
    this.view = { state: update.state, status: update.status, lastStep: this.lastStep };
    for (const line of [...lines, ...(state === null ? [] : [state])]) this.bars.log(`${line}\n`);
  }

  note(text: string): void {
    this.bars.log(`${this.output.paint('yellow', text)}\n`);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    // Once more, for lines that wait to be printed: stop() forgets them.
    this.bars.update();
    this.bars.stop();
  }

  private line(options: Options): string {
    if (this.view === null) return '';
    const bar = (share: number, size: number): string =>
      this.output.paint('cyan', Format.BarFormat(share, { ...options, barsize: size }));
    // The last column stays free: some terminals wrap when it is written.
    return liveLine(this.view, this.output.width() - 1, bar);
  }
}

/** One JSON object a line: the run's events as in metrics.jsonl, and `status` lines when state or phase change. */
class JsonView implements RunView {
  private seen = '';

  constructor(
    private readonly output: Terminal,
    private readonly messages: Terminal,
  ) {}

  begin(): void {
    // Events are passed on one by one; none depends on earlier ones.
  }

  update({ events, state, status }: RunUpdate): void {
    for (const event of events) this.output.line(JSON.stringify(event));
    const { phase, step, totalSteps, attempt, error } = status;
    const key = JSON.stringify([state, phase, attempt]);
    if (key === this.seen) return;
    this.seen = key;
    this.output.line(
      JSON.stringify({ type: 'status', state, phase, step, totalSteps, attempt, error, time: Date.now() }),
    );
  }

  note(text: string): void {
    this.messages.line(text);
  }

  close(): void {
    // Nothing is held.
  }
}
