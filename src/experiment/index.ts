// The experiment document: schema, parsing, rules, overrides, paths, the planner.

export { ExperimentSchema, LayerOverrideSchema } from './schema';
export type { Experiment, ExperimentInput, Granularity, LayerOverride } from './schema';
export type { Fix, KeyPath, Problem, SourceRange, TextEdit } from './problem';
export { parseExperiment, nameOf, type ParsedExperiment } from './parse';
export { formatProblems, countProblems } from './format-problems';
export { applyOverrides } from './overrides';
export { resolvePaths, isHubId, type PathVariables } from './paths';
export { resolveLinears, matchesGlob } from './linears';
export { memoryLimitBytes } from './memory-limit';
