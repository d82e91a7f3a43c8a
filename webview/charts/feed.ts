// Events of a run directory → columns → messages. Pure: the host feeds it what it reads and posts what comes out.
//
// What the events mean is src/runs's (docs/run-directory.md): `resume` takes back what came after its step, and of several
// evaluations of one step, kind and form the last counts. EventLog there folds events into a list; this folds them into columns,
// because a long run has millions of steps. A test holds the two to the same result.
import type { GpuReading, LayersEvent, MetricsEvent } from '../../src/runs/events';
import {
  LAYER_COLUMNS,
  ROW_COLUMNS,
  SPARSE_COLUMNS,
  type CheckpointMark,
  type Evaluation,
  type ResumeMark,
  type RunDelta,
} from './protocol';
import { Columns, lowerBound } from '../shared/series/columns';
import { Outbox } from '../shared/series/outbox';

/** Rows a message: some two megabytes, which the page takes in within a fraction of a frame. */
export const PIECE = 25_000;
/** Milliseconds for which a reading of the GPU holds: trainers take one a second, of whichever step comes then. */
const HELD = 2_500;

export class RunFeed {
  private readonly rows = new Columns(ROW_COLUMNS, undefined, SPARSE_COLUMNS);
  private readonly layers = new Columns(LAYER_COLUMNS);
  private readonly layerIndex = new Map<string, number>();
  private evaluations: Evaluation[] = [];
  private checkpoints: CheckpointMark[] = [];
  private resumes: ResumeMark[] = [];

  private readonly outbox = {
    rows: new Outbox(() => this.rows.length),
    layers: new Outbox(() => this.layers.length),
    evaluations: new Outbox(() => this.evaluations.length),
    checkpoints: new Outbox(() => this.checkpoints.length),
    resumes: new Outbox(() => this.resumes.length),
  };
  private revision = 0;

  /** Time of the last sign of the trainer at work, and the working time until then. Working time is counted from event to event
   *  of one attempt: not while no trainer works on the run, and not backwards when a clock is set back. */
  private clock: number | null = null;
  private elapsed = 0;
  private gpu: { readonly reading: Partial<GpuReading>; readonly until: number } | null = null;

  constructor(
    /** RunInfo.id of the run. */
    readonly run: string,
  ) {}

  /** Takes what a reader has newly read, in file order. `reset`: a file was replaced, forget what was before. */
  add(update: {
    readonly events: readonly MetricsEvent[];
    readonly layers: readonly LayersEvent[];
    readonly reset: boolean;
  }): void {
    if (update.reset) this.reset();
    for (const event of update.events) this.addMetrics(event);
    for (const event of update.layers) this.addLayers(event);
  }

  /** Everything, from the beginning, in one or more messages. */
  *snapshot(): Generator<RunDelta, void, undefined> {
    for (const part of Object.values(this.outbox)) part.forget();
    yield this.piece(0);
    yield* this.delta();
  }

  /** What has changed since the last message; nothing, one or more messages. */
  *delta(): Generator<RunDelta, void, undefined> {
    while (Object.values(this.outbox).some((part) => part.waiting())) yield this.piece(this.revision);
  }

  private piece(base: number): RunDelta {
    const { outbox } = this;
    this.revision++;
    const list = <Item>(part: Outbox, items: readonly Item[]) =>
      part.take(items.length, (keep, to) => ({ keep, items: items.slice(keep, to) }));
    return {
      run: this.run,
      revision: this.revision,
      base,
      rows: outbox.rows.take(PIECE, (keep, to) => ({ keep, count: to - keep, columns: this.rows.buffers(keep, to) })),
      layers: outbox.layers.take(PIECE, (keep, to) => ({
        names: [...this.layerIndex.keys()],
        rows: { keep, count: to - keep, columns: this.layers.buffers(keep, to) },
      })),
      evaluations: list(outbox.evaluations, this.evaluations),
      checkpoints: list(outbox.checkpoints, this.checkpoints),
      resumes: list(outbox.resumes, this.resumes),
    };
  }

  private reset(): void {
    this.rows.truncate(0);
    this.layers.truncate(0);
    this.layerIndex.clear();
    this.evaluations = [];
    this.checkpoints = [];
    this.resumes = [];
    for (const part of Object.values(this.outbox)) part.cut(0);
    this.clock = null;
    this.elapsed = 0;
    this.gpu = null;
  }

  /** The reading of a step, or the one before while it holds. */
  private gpuAt(reading: unknown, time: number | null): Partial<GpuReading> | null {
    if (typeof reading === 'object' && reading !== null && time !== null) {
      this.gpu = { reading, until: time + HELD };
    }
    return this.gpu !== null && time !== null && time <= this.gpu.until ? this.gpu.reading : null;
  }

  private addMetrics(event: MetricsEvent): void {
    switch (event.type) {
      case 'start':
      case 'attempt':
        this.clock = finite(event.time);
        return;
      case 'step': {
        // A step that is already there without a `resume` between (the line was cut short): the later one counts.
        this.cutRows(event.step - 1);
        this.tick(event.time);
        // Lines are checked only for what they need to be folded; every number may be missing or of a wrong type.
        const line = event as Partial<typeof event>;
        const gpu = this.gpuAt(line.gpu, finite(line.time));
        this.rows.push({
          step: event.step,
          time: value(line.time),
          elapsed: this.elapsed,
          tokens: this.tokens() + (finite(line.tokens) ?? 0),
          loss: value(line.loss),
          learningRateLowRank: value(line.learningRate?.lowRank),
          learningRateScales: value(line.learningRate?.scales),
          gradientNorm: value(line.gradientNorm),
          tokensPerSecond: value(line.tokensPerSecond),
          memoryEngine: value(line.memory?.engine),
          memoryResident: value(line.memory?.resident),
          skipped: line.skipped === true ? 1 : 0,
          crossEntropy: value(line.crossEntropy),
          divergence: value(line.divergence),
          learningRateZeroPoints: value(line.learningRate?.zeroPoints),
          learningRateWeights: value(line.learningRate?.weights),
          learningRateNorms: value(line.learningRate?.norms),
          learningRateHead: value(line.learningRate?.head),
          learningRateEmbeddings: value(line.learningRate?.embeddings),
          learningRateActivations: value(line.learningRate?.activations),
          gpuUtilization: value(gpu?.utilization),
          gpuWatts: value(gpu?.watts),
          gpuCelsius: value(gpu?.celsius),
          gpuMemory: value(gpu?.memoryUsed),
        });
        return;
      }
      case 'eval': {
        if (!isForm(event.form) || typeof event.kind !== 'string') return;
        const { kind, form } = event;
        const at = this.evaluations.findLastIndex(
          (each) => each.step === event.step && each.kind === kind && each.form === form,
        );
        const evaluation = { ...this.mark(event), kind, form, perplexity: finite(event.perplexity) };
        if (at < 0) this.evaluations.push(evaluation);
        else {
          this.evaluations[at] = evaluation;
          this.outbox.evaluations.cut(at);
        }
        return;
      }
      case 'checkpoint':
        this.checkpoints.push(this.mark(event));
        return;
      case 'resume':
        this.takeBack(event.fromStep, event.time);
        return;
      case 'end':
        this.tick(event.time);
        return;
    }
  }

  private addLayers(event: LayersEvent): void {
    if (event.type === 'resume') {
      const steps = this.layers.column('step');
      // Not sorted by construction (a later version may measure layer by layer), so look at each.
      const keep = steps.findIndex((step) => step > event.fromStep);
      if (keep >= 0) {
        this.layers.truncate(keep);
        this.outbox.layers.cut(keep);
      }
      return;
    }
    if (typeof event.name !== 'string') return;
    let layer = this.layerIndex.get(event.name);
    if (layer === undefined) {
      layer = this.layerIndex.size;
      this.layerIndex.set(event.name, layer);
    }
    this.layers.push({
      step: event.step,
      layer,
      clippedShare: value(event.clippedShare),
      flippedShare: value(event.flipped / event.weights),
      scaleDrift: value(event.scaleDrift),
    });
  }

  private takeBack(fromStep: number, time: number): void {
    this.cutRows(fromStep);
    const kept = (mark: { readonly step: number }) => mark.step <= fromStep;
    this.evaluations = this.keep('evaluations', this.evaluations, kept);
    this.checkpoints = this.keep('checkpoints', this.checkpoints, kept);
    this.resumes = this.keep('resumes', this.resumes, kept);
    this.clock = finite(time);
    const marks = [...this.evaluations, ...this.checkpoints];
    this.elapsed = marks.reduce((most, mark) => Math.max(most, mark.elapsed), this.last('elapsed'));
    this.resumes.push({ ...this.mark({ step: fromStep, time }) });
  }

  private keep<Item>(part: keyof RunFeed['outbox'], items: readonly Item[], wanted: (item: Item) => boolean): Item[] {
    const first = items.findIndex((item) => !wanted(item));
    if (first >= 0) this.outbox[part].cut(first);
    return items.filter(wanted);
  }

  /** Drops rows of later steps than `step`. */
  private cutRows(step: number): void {
    const keep = lowerBound(this.rows.column('step'), step + 1);
    if (keep === this.rows.length) return;
    this.rows.truncate(keep);
    this.outbox.rows.cut(keep);
  }

  private mark(event: { readonly step: number; readonly time: number }): CheckpointMark {
    this.tick(event.time);
    return { step: event.step, elapsed: this.elapsed, tokens: this.tokens(), time: finite(event.time) ?? 0 };
  }

  private tick(time: unknown): void {
    const now = finite(time);
    if (now === null) return;
    if (this.clock !== null) this.elapsed += Math.max(0, now - this.clock);
    this.clock = now;
  }

  private tokens(): number {
    return this.last('tokens');
  }

  private last(column: 'elapsed' | 'tokens'): number {
    return this.rows.column(column).at(-1) ?? 0;
  }
}

function isForm(form: unknown): form is Evaluation['form'] {
  return form === 'float' || form === 'round-to-nearest' || form === 'trained' || form === 'merged';
}

function finite(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

function value(number: unknown): number {
  return finite(number) ?? NaN;
}
