// Between the extension host and the thread that looks at models and texts for it.
import type {
  Calibration,
  Estimate,
  Experiment,
  Machine,
  Problem,
  Suggestion,
  SweepPlan,
  SweepRun,
} from '../../experiment';
import type { WeightSample } from '../../experiment/weight-grid';
import type { ModelShape } from '../../formats/model-shape';
import type { NativeProbe } from '../../launch/probe-native';
import type { EarlierRun } from './earlier-run';

export interface WorldQuestion {
  readonly type: 'question';
  readonly id: number;
  /** Questions about the same file replace each other: only the newest is answered. */
  readonly file: string;
  readonly text: string;
  readonly workspaceFolder: string | null;
  readonly runsFolder: string;
  /** What the engine says of this machine; null: it may not be asked. */
  readonly probe: NativeProbe | null;
  /** What was measured on this machine, by the key of a {@link SpeedRequest}. */
  readonly rates: Readonly<Record<string, Calibration>>;
  /** A run of the same file, for how fast a GPU is; null: there is none. */
  readonly earlier: EarlierRun | null;
}

/** Some weights of a linear, for a picture. */
export interface SampleRequest {
  readonly type: 'sample';
  readonly id: number;
  readonly modelFolder: string;
  /** `model.layers.0.self_attn.q_proj`. */
  readonly linear: string;
}

export type WorldRequest = WorldQuestion | SampleRequest;

/** What would have to be tried to know how fast an experiment trains. */
export interface SpeedRequest {
  /** The same for experiments whose times follow from each other's rates. */
  readonly key: string;
  /** Paths resolved. */
  readonly experiment: Experiment;
}

export interface WorldAnswer {
  readonly id: number;
  /** All problems, those of the text included, in the order of the file. */
  readonly problems: readonly Problem[];
  /** Paths resolved; null when there is an error. */
  readonly experiment: Experiment | null;
  /** Of a file with a sweep; null: it has none, or there is an error. `experiment` is the first of the runs. */
  readonly sweep: SweepAnswer | null;
  /** null: the text has errors, or the model cannot be read. */
  readonly estimate: EstimateSummary | null;
  /** What plans for other settings of the same model start from; null as `estimate`. */
  readonly facts: PlanFacts | null;
  /** What would have to be measured for better times; null: it has been, or there is no estimate. */
  readonly toMeasure: SpeedRequest | null;
}

export interface PlanFacts {
  readonly modelFolder: string;
  readonly shape: ModelShape;
  readonly machine: Machine;
  readonly calibration: Calibration;
}

/** What a file with a sweep stands for. */
export interface SweepAnswer {
  /** In order, paths resolved. */
  readonly runs: readonly SweepRun[];
  /** What they need together; null: the models cannot be read. */
  readonly plan: SweepPlan | null;
}

/** What all runs of a sweep come to, for those who do not need the runs. */
export type SweepSummary = Omit<SweepPlan, 'runs'> & {
  readonly count: number;
  /** Runs whose memory does not fit. */
  readonly tooLarge: number;
  /** Engine memory of the largest, bytes. */
  readonly memory: number;
};

/** What a code lens says. */
export interface EstimateSummary extends Pick<
  Estimate,
  | 'total'
  | 'limit'
  | 'fits'
  | 'startSeconds'
  | 'teacherSeconds'
  | 'trainingSeconds'
  | 'evaluationSeconds'
  | 'tokensPerSecond'
  | 'calibrated'
  | 'bitsPerWeight'
> {
  readonly suggestions: readonly Pick<Suggestion, 'title' | 'least' | 'fits'>[];
  /** Of a file with a sweep, of whose first run the rest is; null: it has none. */
  readonly sweep: SweepSummary | null;
}

export type WorldReply =
  | { readonly type: 'sample'; readonly id: number; readonly sample: WeightSample }
  | ({ readonly type: 'answer' } & WorldAnswer)
  /** A newer question about the same file has come. */
  | { readonly type: 'superseded'; readonly id: number }
  | { readonly type: 'failed'; readonly id: number; readonly message: string };
