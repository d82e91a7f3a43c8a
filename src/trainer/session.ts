// What the parts of a running trainer share.

import type { DeviceConfig, Engine, LinearQuantization, LrqatAddon, TokenBatch } from '../../native/binding/addon';
import type { Experiment } from '../experiment';
import { totalBytes } from '../experiment/memory-layout';
import type { HuggingFaceModel } from '../formats';
import type { FileSystem } from '../formats/file-system';
import type { EndEvent, MetricsEvent, ResumeEvent, RunWriter } from '../runs';
import type { Choices } from './choices';
import type { ControlDesk } from './control-desk';
import type { EvaluationText } from './evaluation-text';
import type { Pace } from './pace';
import type { Progress } from './progress';

export type Emit = (event: Exclude<MetricsEvent, ResumeEvent | EndEvent>) => Promise<void>;

/** A run that this process owns. */
export interface OwnedRun {
  readonly directory: string;
  readonly fileSystem: FileSystem;
  readonly writer: RunWriter;
  readonly desk: ControlDesk;
  readonly pace: Pace;
  /** Appends to metrics.jsonl and tells who follows in this process. */
  readonly emit: Emit;
}

/** Everything a run reads, opened and checked, with all choices made. */
export interface PreparedRun extends OwnedRun {
  readonly experiment: Experiment;
  readonly model: HuggingFaceModel;
  readonly linears: Readonly<Record<string, LinearQuantization | null>>;
  readonly choices: Choices;
  /** Of this attempt against the first, as lines for people; empty: it computes the same bits. */
  readonly departures: readonly string[];
  readonly addon: LrqatAddon;
  /** File of the library for matrix products; null: the built-in ones. */
  readonly oneDnn: string | null;
  /** Where the engines compute. */
  readonly device: DeviceConfig;
  /** The first training sequences, so many or all; null: this run has no use for them. */
  readonly calibrationSequences: ((count: number) => TokenBatch) | null;
  /** All files of text behind the tokens. */
  readonly corpusFiles: readonly string[];
  /** Texts whose sequences the training engine can take, and longer ones, which need an engine of their own. */
  readonly texts: readonly EvaluationText[];
  readonly longTexts: readonly EvaluationText[];
}

/** A run with its engine loaded and its counts restored. */
export interface Session extends PreparedRun {
  readonly engine: Engine;
  readonly baseDigest: string;
  readonly progress: Progress;
  /** Step of the newest checkpoint; null: none. */
  savedAt: number | null;
  /** Seconds of work on this run up to now, in all attempts. */
  readonly secondsSoFar: () => number;
}

/** Bytes now: allocated by the engine, resident in the process. */
export function memoryNow(engine: Pick<Engine, 'memory'>): { engine: number; resident: number } {
  return { engine: totalBytes(engine.memory()), resident: process.memoryUsage.rss() };
}

/** Largest resident set of this process so far, bytes. */
export function residentPeak(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** The engine was told to give up the call; nothing has changed. */
export function isCancelled(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'Cancelled';
}
