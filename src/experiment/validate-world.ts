// Rules that need the world: the model's files, the texts, memory and disk. What is asked of the world is an interface, so
// that editor, command line and trainer can each bring what they have; world.ts is the one over the real file system.

import { UserError, messageOf } from '../errors';
import type { ModelShape } from '../formats/model-shape';
import { quoted } from './allowed';
import { guessedCalibration } from './calibration';
import { planDisk } from './disk';
import { ExperimentDocument, type Redirect } from './document';
import { estimate, type Suggestion } from './estimate';
import { formatBytes } from './format-numbers';
import { inFileOrder, locate } from './parse';
import type { RunToCheck } from './paths';
import type { Machine } from './planner';
import { pathText, type KeyPath, type Problem } from './problem';
import type { Finding } from './rule';
import type { Experiment } from './schema';
import { shapeFindings } from './shape-rules';
import { touches } from './sound-part';
import { mergeProblems } from './sweep-problems';

export interface WorldModel {
  readonly folder: string;
  readonly shape: ModelShape;
  /** What its folder holds that is not made use of. */
  readonly warnings?: readonly string[];
}

/** Which texts a count is about. */
export interface TextRequest {
  readonly files: readonly string[];
  readonly field: string;
  readonly packing: 'join' | 'documents';
  readonly kind: 'text' | 'wikitext';
  readonly model: WorldModel;
}

/** Methods throw UserError for what the user can mend. Paths are as resolvePaths leaves them. */
export interface World {
  readonly machine: Machine;
  /** Why the GPU that the experiment asks for cannot be used; null: it can. */
  readonly gpuProblem: string | null;
  /** Checks the whole folder: configuration, every tensor's header, tokenizer file. */
  openModel(path: string): Promise<WorldModel>;
  /** Highest token id plus one of the tokenizer. */
  tokenizerVocabulary(model: WorldModel): Promise<number>;
  /** Files of a path or glob; empty when there is none. */
  expand(pattern: string): Promise<readonly string[]>;
  /** A file of a similar name where `pattern` has none. */
  similar(pattern: string): Promise<string | undefined>;
  /** Tokens of the texts, counted no further than `enough`. */
  countTokens(request: TextRequest, enough: number): Promise<number>;
  /** Free bytes where the run folder will lie; null: not known. */
  freeDisk(): Promise<number | null>;
}

/** Text and name of the file that the experiment came from, for places and fixes. */
export interface ExperimentSource {
  readonly text: string;
  readonly file: string;
  /** Values that stand elsewhere than their keys: of one run of a sweep. */
  readonly redirects?: readonly Redirect[];
  /** Of an experiment that is only the sound part of its file: paths with an error, see {@link SoundPart}. */
  readonly broken?: readonly string[];
}

/**
 * The same for all runs of a file: one, or those of a sweep. A problem that several runs share is told once. Models and texts
 * are looked at once, however many runs use them.
 */
export async function validateRuns(
  runs: readonly Pick<RunToCheck, 'name' | 'redirects' | 'experiment' | 'broken'>[],
  world: World,
  source: Pick<ExperimentSource, 'text' | 'file'>,
): Promise<Problem[]> {
  const known = looksOnce(world);
  const found: { name: string; problems: Problem[] }[] = [];
  for (const { name, redirects, experiment, broken } of runs) {
    found.push({ name, problems: await validateAgainstWorld(experiment, known, { ...source, redirects, broken }) });
  }
  return inFileOrder(mergeProblems(found));
}

function looksOnce(world: World): World {
  const answers = new Map<string, Promise<unknown>>();
  const once = <Value>(key: readonly unknown[], ask: () => Promise<Value>): Promise<Value> => {
    const text = JSON.stringify(key);
    const answer = answers.get(text) ?? ask();
    answers.set(text, answer);
    return answer as Promise<Value>;
  };
  return {
    ...world,
    openModel: (model) => once(['model', model], () => world.openModel(model)),
    tokenizerVocabulary: (model) => once(['vocabulary', model.folder], () => world.tokenizerVocabulary(model)),
    expand: (pattern) => once(['expand', pattern], () => world.expand(pattern)),
    similar: (pattern) => once(['similar', pattern], () => world.similar(pattern)),
    countTokens: (request, enough) =>
      once(['tokens', { ...request, model: request.model.folder }, enough], () => world.countTokens(request, enough)),
    freeDisk: () => once(['disk'], () => world.freeDisk()),
  };
}

/**
 * All problems that only the world shows, in the order of the file. `experiment` has its paths resolved. Without `source`
 * problems stand at line 1 of an unnamed file.
 */
export async function validateAgainstWorld(
  experiment: Experiment,
  world: World,
  source: ExperimentSource = { text: '', file: '' },
): Promise<Problem[]> {
  const { text, file, redirects, broken = [] } = source;
  const document = new ExperimentDocument(text, file, redirects);
  const findings = [...deviceFindings(experiment, world)];
  const model = await attempt(() => world.openModel(experiment.model.path), ['model', 'path'], 'model.path', findings);
  const told = ({ path, reads = [] }: Finding): boolean =>
    ![pathText(path), ...reads].some((key) => touches(broken, key));
  const shapeProblems = model ? shapeFindings(experiment, model.shape).filter(told) : [];
  findings.push(...shapeProblems);
  findings.push(...(await textFindings(experiment, world, model, document)));
  if (model) {
    for (const warning of model.warnings ?? []) {
      findings.push({ path: ['model', 'path'], severity: 'warning', message: `model.path: ${warning}` });
    }
    findings.push(...(await vocabularyFindings(model, world)));
    // Sizes of an experiment that the model does not allow, or of a part of one, would say nothing.
    if (broken.length === 0 && !shapeProblems.some(({ severity = 'error' }) => severity === 'error')) {
      findings.push(...(await resourceFindings(experiment, model.shape, world)));
    }
  }
  return inFileOrder(findings.filter(told).map((finding) => placed(document, finding)));
}

/** A finding with ready-made fixes beside the replacements of its own value. */
interface WorldFinding extends Finding {
  readonly suggestions?: readonly Suggestion[];
}

function placed(document: ExperimentDocument, finding: WorldFinding): Problem {
  const problem = locate(document, finding);
  const suggested = (finding.suggestions ?? [])
    .filter(({ fits, set }) => fits && set.length === 1)
    .map(({ title, set }) => {
      const [assignment = ''] = set;
      const equals = assignment.indexOf('=');
      const value = assignment.slice(equals + 1);
      const parsed: unknown = /^[\d{["]/.test(value) ? JSON.parse(value) : value;
      return { title: `Use ${title}`, edits: document.setValue(assignment.slice(0, equals).split('.'), parsed) };
    });
  return suggested.length === 0 || document.root === undefined
    ? problem
    : { ...problem, fixes: [...(problem.fixes ?? []), ...suggested] };
}

async function attempt<T>(
  action: () => Promise<T>,
  path: KeyPath,
  key: string,
  findings: WorldFinding[],
  reads: readonly string[] = [],
): Promise<T | undefined> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof UserError) && !isSystemError(error)) throw error;
    findings.push({
      path,
      reads,
      message: `${key}: ${messageOf(error)}`,
      ...(error instanceof UserError && error.hint !== undefined ? { hint: error.hint } : {}),
    });
    return undefined;
  }
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && 'syscall' in error;
}

function* deviceFindings({ device }: Experiment, world: World): Iterable<WorldFinding> {
  if (device === 'auto' || device === 'cpu' || world.gpuProblem === null) return;
  yield {
    path: ['device'],
    value: device,
    message: `device: ${quoted(device)} cannot be used: ${world.gpuProblem}; use "cpu" or "auto"`,
    replacements: ['auto', 'cpu'],
  };
}

async function vocabularyFindings(model: WorldModel, world: World): Promise<WorldFinding[]> {
  const findings: WorldFinding[] = [];
  const tokens = await attempt(() => world.tokenizerVocabulary(model), ['model', 'path'], 'model.path', findings);
  if (tokens !== undefined && tokens > model.shape.vocabSize) {
    findings.push({
      path: ['model', 'path'],
      message: `model.path: the tokenizer in ${model.folder} has ${String(tokens)} tokens, the model only ${String(model.shape.vocabSize)}; tokenizer.json and config.json belong to different models`,
    });
  }
  return findings;
}

interface Corpus {
  readonly path: KeyPath;
  readonly key: string;
  readonly files: readonly string[];
  readonly sequenceLength: number;
  /** Where that length stands. */
  readonly lengthKey: string;
  readonly kind: TextRequest['kind'];
}

function corpora({ data, evaluation }: Experiment): Corpus[] {
  const common = { sequenceLength: data.sequenceLength, lengthKey: 'data.sequenceLength', kind: 'text' } as const;
  const list: Corpus[] = [
    { path: ['data', 'train'], key: 'data.train', files: data.train, ...common },
    { path: ['data', 'validation'], key: 'data.validation', files: data.validation, ...common },
  ];
  if (evaluation.kinds.includes('wikitext')) {
    list.push({
      path: ['evaluation', 'wikitext', 'files'],
      key: 'evaluation.wikitext.files',
      files: evaluation.wikitext.files,
      sequenceLength: evaluation.wikitext.sequenceLength,
      lengthKey: 'evaluation.wikitext.sequenceLength',
      kind: 'wikitext',
    });
  }
  return list.filter(({ files }) => files.length > 0);
}

async function textFindings(
  experiment: Experiment,
  world: World,
  model: WorldModel | undefined,
  document: ExperimentDocument,
): Promise<WorldFinding[]> {
  const findings: WorldFinding[] = [];
  for (const corpus of corpora(experiment)) {
    const before = findings.length;
    for (const [index, pattern] of corpus.files.entries()) {
      const path = [...corpus.path, index];
      const key = `${corpus.key}[${String(index)}]`;
      const found = await attempt(() => world.expand(pattern), path, key, findings);
      if (found?.length !== 0) continue;
      const similar = await world.similar(pattern);
      findings.push({
        path,
        value: pattern,
        message: `${key}: ${/[*?{[]/.test(pattern) ? `no file matches ${pattern}` : `${pattern}: no such file`}${similar === undefined ? '' : `; did you mean ${similar}?`}`,
        ...(similar === undefined ? {} : { replacements: [inWrittenStyle(document, path, similar)] }),
      });
    }
    if (findings.length > before || !model) continue;
    const { packing, field } = experiment.data;
    // The WikiText protocol joins its rows, however the training text is packed.
    const joined = corpus.kind === 'wikitext' ? 'join' : packing;
    const request = { files: corpus.files, field, packing: joined, kind: corpus.kind, model } as const;
    const enough = corpus.sequenceLength;
    const count = (): Promise<number> => world.countTokens(request, enough);
    const reads = ['data.field', 'data.packing', corpus.lengthKey];
    const tokens = await attempt(count, corpus.path, corpus.key, findings, reads);
    if (tokens === undefined || tokens >= enough) continue;
    findings.push({
      path: corpus.path,
      reads,
      message: `${corpus.key}: the text has ${String(tokens)} tokens, not enough for one sequence of ${String(enough)}; add text${tokens >= 2 ? ` or use sequences of at most ${String(tokens)}` : ''}`,
    });
  }
  return findings;
}

/** The file's name in place of the last part of what is written, so that a relative path stays one. */
function inWrittenStyle(document: ExperimentDocument, path: KeyPath, file: string): string {
  const written: unknown = document.node(path)?.value;
  const name = file.split(/[\\/]/).at(-1) ?? file;
  return typeof written === 'string' ? written.replace(/[^\\/]*$/, name) : file;
}

async function resourceFindings(experiment: Experiment, shape: ModelShape, world: World): Promise<WorldFinding[]> {
  const { machine } = world;
  const calibration = guessedCalibration({
    isa: 'avx2',
    bf16: 'none',
    cores: machine.cores,
    compute: experiment.compute === 'bf16' ? 'bf16' : 'float32',
  });
  const result = estimate({ experiment, shape, machine, calibration });
  const findings: WorldFinding[] = [];
  if (!result.fits) {
    const needed = result.peak;
    const help = result.suggestions.filter(({ fits }) => fits);
    findings.push({
      path: experiment.memoryLimit === 'auto' ? ['training', 'microBatchSize'] : ['memoryLimit'],
      value: experiment.memoryLimit,
      message: `the run needs ${formatBytes(needed)} of memory, the limit is ${formatBytes(result.limit)}${experiment.memoryLimit === 'auto' ? ` (memoryLimit "auto" of ${formatBytes(machine.totalMemory)})` : ''}`,
      hint:
        help.length > 0
          ? `it would fit with ${help.map(({ title, least }) => `${title} (${formatBytes(least)} at least)`).join(', or ')}`
          : 'none of the usual settings makes it fit; use a smaller model or a machine with more memory',
      suggestions: help,
    });
  }
  const free = await world.freeDisk();
  const disk = planDisk(experiment, shape, result.plan.linears);
  // How much text there is, and with it the size of what distillation keeps, is known for sure only when it is tokenized.
  const certain = disk.total - disk.teacher;
  if (free !== null && disk.total > free && certain <= free) {
    const { topK } = experiment.training.distillation;
    const fitting = Math.floor((topK * (free - certain)) / disk.teacher);
    findings.push({
      path: ['training', 'distillation', 'topK'],
      value: topK,
      severity: 'warning',
      message: `training.distillation keeps up to ${formatBytes(disk.teacher)} of the float model on disk, and ${formatBytes(free - certain)} are free for it; less text than training could see needs less${fitting >= 1 ? `, and so does topK ${String(fitting)}` : ''}`,
      ...(fitting >= 1 ? { replacements: [fitting] } : {}),
    });
  }
  if (free !== null && certain > free) {
    const keep = Math.floor((free - disk.base - disk.merged) / Math.max(disk.checkpoint, 1)) - 2;
    findings.push({
      path: ['checkpoint', 'keep'],
      value: experiment.checkpoint.keep,
      message: `the run writes up to ${formatBytes(certain)} (${String(disk.checkpoints)} checkpoints of ${formatBytes(disk.checkpoint)}, merged weights of ${formatBytes(disk.merged)}), ${formatBytes(free)} are free; ${keep >= 1 ? `use checkpoint.keep ${String(keep)}` : 'free some space'} or another folder for runs`,
      ...(keep >= 1 ? { replacements: [keep] } : {}),
    });
  }
  return findings;
}
