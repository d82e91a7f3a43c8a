// Between the extension host and the thread that looks at models and texts for it.
import type { Estimate, Experiment, Problem } from '../../experiment';
import type { CpuFacts } from '../start/engine-facts';

export interface WorldQuestion {
  readonly id: number;
  /** Questions about the same file replace each other: only the newest is answered. */
  readonly file: string;
  readonly text: string;
  readonly workspaceFolder: string | null;
  readonly runsFolder: string;
  readonly cpu: CpuFacts | null;
  /** Floating-point operations and bytes a second, where they were measured on this machine. */
  readonly rates: { readonly gemm: number; readonly bytes: number } | null;
}

export interface WorldAnswer {
  readonly id: number;
  /** All problems, those of the text included, in the order of the file. */
  readonly problems: readonly Problem[];
  /** Paths resolved; null when there is an error. */
  readonly experiment: Experiment | null;
  /** null: the text has errors, or the model cannot be read. */
  readonly estimate: EstimateSummary | null;
}

/** What a code lens says. */
export interface EstimateSummary extends Pick<
  Estimate,
  | 'total'
  | 'limit'
  | 'fits'
  | 'trainingSeconds'
  | 'evaluationSeconds'
  | 'tokensPerSecond'
  | 'calibrated'
  | 'bitsPerWeight'
> {
  readonly suggestions: readonly {
    readonly title: string;
    readonly set: readonly string[];
    readonly total: number;
    readonly fits: boolean;
  }[];
}

export type WorldReply =
  | ({ readonly type: 'answer' } & WorldAnswer)
  /** A newer question about the same file has come. */
  | { readonly type: 'superseded'; readonly id: number }
  | { readonly type: 'failed'; readonly id: number; readonly message: string };
