// lrqat sensitivity FILE
import { existsSync } from 'node:fs';
import path from 'node:path';
import { version } from '../../../package.json';
import { showNumber } from '../../compare';
import { UserError } from '../../errors';
import { formatSeconds, parseExperiment, resolveLinears, type Experiment, type World } from '../../experiment';
import {
  bitSettings,
  chooseBits,
  linearSizes,
  uniformBitsPerWeight,
  withBitSettings,
  type BitChoice,
} from '../../experiment/mixed-bits';
import { nodeFileSystem, writeFileAtomic } from '../../formats';
import { runsFolderFor } from '../../runs';
import type { Sensitivity, SensitivityOptions } from '../../trainer/sensitivity';
import { shortPath, type Context } from '../context';
import { readExperiment, requireExperiment } from '../experiment-input';
import { renderTable } from '../table';
import { sensitivityReport } from '../sensitivity-report';
import { heatRows } from '../sensitivity-table';
import type { Terminal } from '../terminal';
import { workHere } from '../work-here';

export interface SensitivityCommandOptions {
  readonly set: readonly string[];
  readonly bits: readonly number[];
  readonly budget?: number;
  readonly data?: readonly string[];
  readonly batches: number;
  readonly device?: string;
  readonly write?: string;
  readonly report?: string;
  readonly json?: boolean;
}

/** A suggestion for a size, and what the model came to when it was measured with it. */
interface Suggestion extends BitChoice {
  readonly budget: number;
  readonly loss: number;
  readonly settings: ReturnType<typeof bitSettings>;
}

export async function sensitivity(file: string, options: SensitivityCommandOptions, context: Context): Promise<number> {
  const target = options.write === undefined ? null : path.resolve(context.folder, options.write);
  requireSense(file, options, target, context);
  const page = options.report === undefined ? null : reportFile(options.report, context);
  const runsFolder = runsFolderFor(path.resolve(context.folder, file));
  const input = await readExperiment(file, options.set, runsFolder, context, 'model');
  const experiment = requireExperiment(input, file, context);
  if (input.sweep !== undefined) {
    throw new UserError('Usage', `${file} has a sweep, and one grid is measured at a time`, {
      hint: 'Leave the sweep out: --set sweep=',
    });
  }
  await requireBudget(options, experiment, input.world);
  return workHere(context, async ({ signal, progress }) => {
    const measured: SensitivityOptions = {
      experiment,
      ...(options.data === undefined ? {} : { data: options.data.map((name) => path.resolve(context.folder, name)) }),
      ...(options.device === undefined ? {} : { device: options.device }),
      maxBatches: options.batches,
      signal,
      onProgress: ({ phase, done, total }) => progress.show(phase, done, total),
    };
    // Only here: few other commands need the engine in their process.
    const { measureMixture, measureSensitivity } = await import('../../trainer/sensitivity');
    const [first = 2, ...rest] = [...new Set(options.bits)].sort((a, b) => a - b);
    const result = await measureSensitivity(measured, [first, ...rest]);
    const suggestion =
      options.budget === undefined
        ? null
        : await suggest(options.budget, options.bits, result, experiment, (mixture) =>
            measureMixture(measured, mixture),
          );
    progress.close();
    if (options.json === true) context.output.line(JSON.stringify(jsonOf(result, suggestion), null, 2));
    else report(result, suggestion, context);
    // Last: what was measured is not lost with a file that cannot be written.
    if (page !== null) {
      const about = { title: `Sensitivity of ${experiment.name}`, time: Date.now(), version };
      await writeFileAtomic(nodeFileSystem, page, sensitivityReport(result, suggestion, about));
      if (options.json !== true) context.output.line(`written: ${shortPath(context, page)}`);
    }
    if (suggestion !== null && target !== null) {
      await write(target, input.text, suggestion, experiment);
      if (options.json !== true) context.output.line(`written: ${shortPath(context, target)}`);
    }
  });
}

/** An earlier report of that name is replaced; anything else is not. */
function reportFile(name: string, context: Context): string {
  const file = path.resolve(context.folder, name);
  if (path.extname(file) !== '.html') {
    throw new UserError('Usage', `--report ${name}: not the name of an HTML file`, {
      hint: 'Give it the ending .html.',
    });
  }
  if (!existsSync(path.dirname(file))) {
    throw new UserError('FolderMissing', `--report ${shortPath(context, file)}: the folder is not there`, {
      hint: `Make ${shortPath(context, path.dirname(file))} first.`,
    });
  }
  return file;
}

/** @throws UserError before anything is measured */
function requireSense(
  file: string,
  { budget }: SensitivityCommandOptions,
  target: string | null,
  context: Context,
): void {
  if (target === null) return;
  if (budget === undefined) {
    throw new UserError('Usage', '--write needs --budget', { hint: 'Say how many bits a weight the model may have.' });
  }
  if (path.dirname(target) !== path.dirname(path.resolve(context.folder, file))) {
    throw new UserError('Usage', `--write ${shortPath(context, target)}: not beside ${file}`, {
      hint: 'Paths in an experiment are relative to its folder: write it into the same one.',
    });
  }
  if (existsSync(target)) {
    throw new UserError('FileExists', `${shortPath(context, target)}: exists already`, {
      hint: 'Nothing is overwritten: choose another name.',
    });
  }
}

/** Asked before the measurement, which may take long. */
async function requireBudget(
  { budget, bits }: SensitivityCommandOptions,
  experiment: Experiment,
  world: World | undefined,
): Promise<void> {
  if (budget === undefined || world === undefined) return;
  const { shape } = await world.openModel(experiment.model.path);
  const least = uniformBitsPerWeight(
    linearSizes({ shape, linears: resolveLinears(experiment, shape) }),
    Math.min(...bits),
  );
  if (least > budget) throw budgetTooSmall(budget, least);
}

async function suggest(
  budget: number,
  bits: readonly number[],
  { linears }: Sensitivity,
  experiment: Experiment,
  measureMixture: (bits: ReadonlyMap<string, number>) => Promise<number>,
): Promise<Suggestion> {
  const choice = chooseBits(linears, budget);
  if (choice === null) throw budgetTooSmall(budget, uniformBitsPerWeight(linears, Math.min(...bits)));
  return { ...choice, budget, loss: await measureMixture(choice.bits), settings: bitSettings(experiment, choice.bits) };
}

function budgetTooSmall(budget: number, least: number): UserError {
  return new UserError('BudgetTooSmall', `--budget ${String(budget)}: the narrowest of these bits need more`, {
    hint: `With scales they come to ${least.toFixed(3)} bits a weight; try narrower --bits or a larger budget.`,
  });
}

/** The experiment's own text with the suggested bits; comments stay. */
async function write(target: string, text: string, { settings }: Suggestion, experiment: Experiment): Promise<void> {
  const changed = withBitSettings(text, settings);
  const problem = parseExperiment(changed, target).problems.find(({ severity }) => severity === 'error');
  if (problem !== undefined) {
    throw new UserError('InvalidExperiment', `${experiment.name} with the suggested bits: ${problem.message}`, {
      hint: 'Nothing was written; the suggestion is printed above.',
    });
  }
  await writeFileAtomic(nodeFileSystem, target, changed);
}

function jsonOf(result: Sensitivity, suggestion: Suggestion | null): unknown {
  return {
    ...result,
    linears: result.linears.map(({ name, weights, losses }) => ({ name, weights, losses: Object.fromEntries(losses) })),
    suggestion:
      suggestion === null
        ? null
        : {
            budget: suggestion.budget,
            bitsPerWeight: suggestion.bitsPerWeight,
            expectedLoss: result.floatLoss + suggestion.expectedLoss,
            loss: suggestion.loss,
            bits: Object.fromEntries(suggestion.bits),
            settings: suggestion.settings,
          },
  };
}

const perplexity = (loss: number): string => showNumber(Math.exp(loss), 'perplexity');

function report(result: Sensitivity, suggestion: Suggestion | null, { output }: Context): void {
  for (const { bits, loss } of result.uniform) {
    const { columns, rows } = heatRows(result, bits, output);
    output.line(output.paint('bold', `${String(bits)} bits: perplexity, in %, that rounding one linear alone costs`));
    for (const line of renderTable(columns, rows, { width: output.width() })) output.line(line);
    output.line(`all at once: ${perplexity(loss)}, float ${perplexity(result.floatLoss)}`);
    output.line();
  }
  if (suggestion !== null) reportSuggestion(result, suggestion, output);
  const { tokens, sequenceLength, compute, seconds } = result;
  output.line(
    `${String(tokens)} tokens in sequences of ${String(sequenceLength)}, round to nearest, ${compute}, ${formatSeconds(seconds)}`,
  );
}

function reportSuggestion(result: Sensitivity, suggestion: Suggestion, output: Terminal): void {
  const { budget, bitsPerWeight, settings, expectedLoss, loss } = suggestion;
  const rows = [
    ...result.uniform.map((each) => [
      `${String(each.bits)} bits everywhere`,
      each.bitsPerWeight.toFixed(3),
      perplexity(each.loss),
      '',
    ]),
    ['suggested mixture', bitsPerWeight.toFixed(3), perplexity(loss), perplexity(result.floatLoss + expectedLoss)],
  ];
  const right = 'right' as const;
  const columns = [
    { title: `for ${String(budget)} bits a weight` },
    { title: 'bits a weight', align: right },
    { title: 'perplexity', align: right },
    { title: 'sum of single losses', align: right },
  ];
  const header = (text: string): string => output.paint('bold', text);
  for (const line of renderTable(columns, rows, { width: output.width(), header })) output.line(line);
  output.line();
  output.line('"weights": { "bits": ' + String(settings.bits) + ' }, "layers": [');
  for (const layer of settings.layers) output.line(`  ${JSON.stringify(layer)},`);
  output.line(']');
  output.line();
}
