// Run directories: where they lie, what is in them, how they are written, read and controlled (docs/run-directory.md).
export * from './checkpoints';
export { clearControls, sendControl, waitForAcknowledgement, type ControlMessage } from './control';
export { createRun, type CreatedRun, type CreateRunOptions } from './create-run';
export { derivedState } from './derived-state';
export { diskUsage, type DiskUsage } from './disk-usage';
export { effectiveEvents, EventLog, parseLayersLine, parseMetricsLine } from './event-log';
export * from './events';
export { findRun } from './find-run';
export * from './layout';
export { prepareRestart, recordEnd } from './lifecycle';
export { listRuns, readSummary, type RunSummary } from './list-runs';
export { changeNotes, readNotes, type RunNotes } from './notes';
export { readOwner, takeOwnership, type Owner, type Ownership } from './owner';
export {
  hashFiles,
  thisMachine,
  type SweepOrigin,
  type FileHash,
  type Provenance,
  type ProvenancePatch,
} from './provenance';
export { gapClosed, readResult, RESULT_SCHEMA, type FourPerplexities, type RunResult } from './result';
export { readRun, type WholeRun } from './read-run';
export {
  appendToQueue,
  cancelQueued,
  claimNext,
  enqueue,
  moveInQueue,
  notQueued,
  queueOf,
  readQueue,
  setParallel,
  type Claim,
  type Queue,
} from './queue';
export { hasQueue, MAX_PARALLEL, queuePaths, readQueueFile } from './queue-file';
export { queueRuns, type QueueRunsPlace, type RunToQueue } from './queue-runs';
export { moved, orderOf, type Move } from './queue-order';
export { readState, RunReader, type ReaderOptions, type RunUpdate } from './run-reader';
export { type BrokenRun, type ListedRun, type RunEntry, type RunOrigin } from './run-folder';
export { isLive, RunStore, type RunDelta, type RunStoreOptions } from './run-store';
export { describeFailure, RunWriter, type WriterOptions } from './run-writer';
export * from './status';
export { stopNow } from './stop-now';
export { readStatus } from './status-file';
