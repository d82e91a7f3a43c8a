// The experiment document: schema, parsing, rules, overrides, paths, the planner.

export { ExperimentSchema, LayerOverrideSchema } from './schema';
export type { Experiment, ExperimentInput, Granularity, LayerOverride } from './schema';
export type { Fix, KeyPath, Problem, SourceRange, TextEdit } from './problem';
export { inFileOrder, parseExperiment, nameOf, type ParsedExperiment, type SweepRun } from './parse';
export { formatProblems, countProblems } from './format-problems';
export { applyOverrides } from './overrides';
export { planRuns, type SweepPlan, type SweepRunPlan } from './sweep-plan';
export { MAX_SWEEP_RUNS } from './sweep';
export { resolvePaths, runsToCheck, isHubId, type PathVariables, type RunToCheck } from './paths';
export { resolveLinears, matchesGlob } from './linears';
export { activationName, resolveActivations, staticRangesOf } from './activations';
export { memoryLimitBytes } from './memory-limit';
export { usableMemory } from './usable-memory';
export { deviceLayout, multipliesBf16, planMemory, planRun, planEvaluation, planStart } from './planner';
export type { Machine, MemoryPlan, PlanChoices, PlanInput, RunPlan } from './planner';
export { planDisk, type DiskPlan } from './disk';
export { isTrained, startOf, type Start } from './start';
export { distillationOf, teacherIdBytes, teacherRecordBytes, teacherSequences } from './distillation';
export { estimate, type Estimate, type EstimateInput, type Suggestion } from './estimate';
export { describeCheckpointing, formatEstimate } from './format-estimate';
export { formatBytes, formatCount, formatSeconds } from './format-numbers';
export {
  calibrationFromGemm,
  guessedCalibration,
  guessedGpuCalibration,
  scaledCalibration,
  CPU_EFFICIENCY,
  GPU_EFFICIENCY,
  type Calibration,
  type GpuFacts,
} from './calibration';
export { validateAgainstWorld, validateRuns } from './validate-world';
export type { ExperimentSource, TextRequest, World, WorldModel } from './validate-world';
