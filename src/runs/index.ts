// Run directories: where they lie, what is in them, how they are written, read and controlled (docs/run-directory.md).
export * from './checkpoints';
export { clearControls, sendControl, waitForAcknowledgement, type ControlMessage } from './control';
export { createRun, type CreatedRun, type CreateRunOptions } from './create-run';
export { derivedState } from './derived-state';
export { effectiveEvents, EventLog, parseLayersLine, parseMetricsLine } from './event-log';
export * from './events';
export * from './layout';
export { readNotes, type RunNotes } from './notes';
export { readOwner, takeOwnership, type Owner, type Ownership } from './owner';
export { hashFiles, thisMachine, type FileHash, type Provenance, type ProvenancePatch } from './provenance';
export { gapClosed, readResult, RESULT_SCHEMA, type FourPerplexities, type RunResult } from './result';
export { describeFailure, RunWriter, type WriterOptions } from './run-writer';
export * from './status';
export { readStatus } from './status-file';
