// What metrics.jsonl and layers.jsonl hold: one JSON object a line. Times are milliseconds since 1970 (UTC). A number that was
// not finite (a loss that overflowed) is written as null, because JSON knows no NaN.

/** Version of the event lines; stands in the first line of metrics.jsonl. */
export const EVENT_SCHEMA = 1;

export type WeightForm = 'float' | 'round-to-nearest' | 'trained' | 'merged';

/** First line of metrics.jsonl. */
export interface StartEvent {
  readonly type: 'start';
  readonly schema: number;
  readonly time: number;
  readonly run: string;
  readonly totalSteps: number;
}

/** A trainer process has taken the run over; the first one is attempt 1. */
export interface AttemptEvent {
  readonly type: 'attempt';
  readonly attempt: number;
  readonly host: string;
  readonly pid: number;
  readonly time: number;
}

/** What the GPU of a run reports; null: nothing of the kind. */
export interface GpuReading {
  /** Share of the last moments in which it computed, 0 to 1. */
  readonly utilization: number | null;
  readonly watts: number | null;
  readonly celsius: number | null;
  /** Bytes taken by all processes. */
  readonly memoryUsed: number | null;
}

/** One optimiser step. `step` counts from 1: it is the number of steps done. */
export interface StepEvent {
  readonly type: 'step';
  readonly step: number;
  /** What was trained on, a predicted token of the step: the mean cross-entropy, nats, or what distillation mixes it with. */
  readonly loss: number | null;
  /** Of runs with distillation: the means that the loss is mixed of, nats. */
  readonly crossEntropy?: number | null;
  readonly divergence?: number | null;
  /** `zeroPoints`, `weights`, `norms`, `head`, `embeddings`, `activations` (scales and zero points of
   *  their grids): of runs that train them. */
  readonly learningRate: {
    readonly lowRank: number;
    readonly scales: number;
    readonly zeroPoints?: number;
    readonly weights?: number;
    readonly norms?: number;
    readonly head?: number;
    readonly embeddings?: number;
    readonly activations?: number;
  };
  /** Global L2 norm before clipping. */
  readonly gradientNorm: number | null;
  /** Tokens of this step. */
  readonly tokens: number;
  readonly tokensPerSecond: number;
  /** Bytes: allocated by the engine, resident in the process. */
  readonly memory: { readonly engine: number; readonly resident: number };
  /** At most once a second, where the driver tells. */
  readonly gpu?: GpuReading;
  readonly time: number;
  /** true: loss or gradient was not finite and nothing was changed. */
  readonly skipped?: boolean;
}

export interface EvalEvent {
  readonly type: 'eval';
  readonly step: number;
  /** Evaluation kind of the experiment: `validation`, `wikitext`. */
  readonly kind: string;
  readonly form: WeightForm;
  readonly perplexity: number | null;
  /** Mean cross-entropy, nats a token. */
  readonly loss: number | null;
  readonly tokens: number;
  readonly time: number;
}

/** A checkpoint is complete on disk (DONE written). */
export interface CheckpointEvent {
  readonly type: 'checkpoint';
  readonly step: number;
  readonly time: number;
}

/** The run goes on from the checkpoint of `fromStep`: earlier events of later steps no longer count. Written to both files. */
export interface ResumeEvent {
  readonly type: 'resume';
  readonly fromStep: number;
  readonly time: number;
}

/** The trainer has ended in an orderly way. A crash leaves no such line. */
export interface EndEvent {
  readonly type: 'end';
  readonly state: 'stopped' | 'finished' | 'failed';
  readonly time: number;
}

export type MetricsEvent = StartEvent | AttemptEvent | StepEvent | EvalEvent | CheckpointEvent | ResumeEvent | EndEvent;

/** State of one quantized linear at a step (layers.jsonl). */
export interface LayerEvent {
  readonly type: 'layer';
  readonly step: number;
  readonly name: string;
  /** Share of entries outside the grid before clipping. */
  readonly clippedShare: number | null;
  /** Integers that differ from step 0, of `weights`. */
  readonly flipped: number;
  readonly weights: number;
  /** Mean |s − s0| / s0. */
  readonly scaleDrift: number | null;
  /** Mean |z − z0| of the integer zero points; only of asymmetric linears. */
  readonly zeroPointDrift?: number | null;
}

export type LayersEvent = LayerEvent | ResumeEvent;

/** Step an event belongs to, or null for events that stand outside the course of training. */
export function stepOf(event: MetricsEvent | LayersEvent): number | null {
  switch (event.type) {
    case 'step':
    case 'eval':
    case 'checkpoint':
    case 'layer':
      return event.step;
    case 'start':
    case 'attempt':
    case 'resume':
    case 'end':
      return null;
  }
}
