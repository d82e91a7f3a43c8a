// The command line itself: commands, options, help. What a command does is in commands/.
import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import { version } from '../../package.json';
import { COMPARE_FORMATS, compare, type CompareOptions } from './commands/compare';
import { checkpoint, pause, stop, type ControlOptions, type StopOptions } from './commands/control';
import { doctor, type DoctorOptions } from './commands/doctor';
import { estimateRun, type EstimateOptions } from './commands/estimate';
import { evaluate, type EvaluateOptions } from './commands/evaluate';
import { exportCommand, type ExportCommandOptions } from './commands/export';
import { list, type ListOptions } from './commands/list';
import { newExperiment, type NewOptions } from './commands/new';
import {
  addToQueue,
  cancelRuns,
  listQueue,
  moveRun,
  waitForQueue,
  type CancelOptions,
  type QueueAddOptions,
  type QueueListOptions,
  type WaitOptions,
} from './commands/queue';
import { resume, type ResumeOptions } from './commands/resume';
import { sensitivity, type SensitivityCommandOptions } from './commands/sensitivity';
import { show, type ShowOptions } from './commands/show';
import { train, type TrainOptions } from './commands/train';
import { validate, type ValidateOptions } from './commands/validate';
import { TASK_NAMES } from '../trainer/tasks/definitions';
import type { Context, RunsOption } from './context';
import { EXPORT_FORMATS } from '../trainer/export/formats';
import { EXIT_CODE_HELP } from './exit-codes';

const CHECK = 'Measure and check:';
const RUN_HELP = 'path of a run, its name, the unique beginning of its name, or "latest"';

/** @param finish hears the exit code of the command that was run */
export function buildProgram(context: Context, finish: (code: number) => void): Command {
  const program = new Command('lrqat')
    .description('Low-rank quantization-aware training of LLaMA-family language models.')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .addHelpCommand(
      new Command('help').argument('[command]').description('print the help of a command').helpGroup(CHECK),
    )
    .showHelpAfterError('(lrqat --help lists the commands, lrqat help COMMAND explains one)')
    .configureHelp({ sortSubcommands: false, sortOptions: false })
    .exitOverride()
    .addHelpText('after', `\n${OVERVIEW}\n${EXIT_CODE_HELP}`);

  program.commandsGroup('Begin:');
  command(program, 'new', "write an experiment file from one of the paper's recipes; without a name, list them")
    .argument('[preset]', 'such as paper/w4-per-channel')
    .option('--model <path>', 'Hugging Face folder, or hub id of a cached model')
    .option('--train <file...>', 'texts to train on; globs work')
    .option('--validation <file...>', 'texts to measure on')
    .option('--out <file>', 'the file (default: named after the preset, in this folder)')
    .action(async (preset: string | undefined, options: NewOptions) =>
      finish(await newExperiment(preset, options, context)),
    );

  program.commandsGroup('Run:');
  command(program, 'train', 'train an experiment, show how it goes, end with the four-way table')
    .argument('<file>', 'experiment file (*.lrqat.json)')
    .addOption(runsOption('folder that gets the run directory'))
    .addOption(setOption())
    .option('--json', 'one event a line, for programs')
    .option('--foreground', 'train in this process instead of a detached one')
    .option('--detach', 'start the trainer and return at once')
    .option('-y, --yes', 'of a sweep: queue the runs without asking')
    .addOption(parallelOption())
    .addHelpText('after', TRAIN_HELP)
    .action(async (file: string, options: TrainOptions) => finish(await train(file, options, context)));

  command(program, 'resume', 'let a paused run go on, or restart one that stopped, failed or crashed')
    .addArgument(runArgument())
    .addOption(runsOption())
    .option('--json', 'one event a line, for programs')
    .option('--foreground', 'train in this process instead of a detached one')
    .option('--detach', 'start the trainer and return at once')
    .addHelpText('after', RESUME_HELP)
    .action(async (run: string, options: ResumeOptions) => finish(await resume(run, options, context)));

  program.commandsGroup('Control a run from anywhere:');
  command(program, 'pause', 'let a run rest after its current step, without using the CPU')
    .addArgument(runArgument())
    .addOption(runsOption())
    .addOption(timeoutOption())
    .action(async (run: string, options: ControlOptions) => finish(await pause(run, options, context)));
  command(program, 'stop', 'save a run and end its trainer')
    .addArgument(runArgument())
    .option('--now', 'without saving: work since the last checkpoint is given up')
    .addOption(runsOption())
    .addOption(timeoutOption())
    .action(async (run: string, options: StopOptions) => finish(await stop(run, options, context)));
  command(program, 'checkpoint', 'write a checkpoint now')
    .addArgument(runArgument())
    .addOption(runsOption())
    .addOption(timeoutOption())
    .action(async (run: string, options: ControlOptions) => finish(await checkpoint(run, options, context)));

  program.commandsGroup('Queue:');
  buildQueue(program, context, finish);

  program.commandsGroup('Look:');
  command(program, 'list', 'list the runs of a folder')
    .addOption(runsOption())
    .option('--json', 'as JSON')
    .action(async (options: ListOptions) => finish(await list(options, context)));
  command(program, 'show', 'show where a run stands and what it came to')
    .addArgument(runArgument())
    .option('-f, --follow', 'stay and show how it goes on; Ctrl-C leaves, the run goes on')
    .addOption(runsOption())
    .option('--json', 'as JSON; with --follow one event a line')
    .action(async (run: string, options: ShowOptions) => finish(await show(run, options, context)));
  command(
    program,
    'compare',
    'compare runs: metrics with differences from a baseline, and what differs in configuration',
  )
    .argument('<runs...>', RUN_HELP)
    .addOption(new Option('--format <format>', 'form of the comparison').choices(COMPARE_FORMATS).default('table'))
    .option('--baseline <run>', 'run that others are measured against (default: the first)')
    .option('--all', 'also settings that are the same in all runs')
    .option('--transpose', 'a row a run instead of a column a run')
    .addOption(runsOption())
    .addHelpText('after', COMPARE_HELP)
    .action(async (runs: string[], options: CompareOptions) => finish(await compare(runs, options, context)));

  program.commandsGroup('Take away:');
  command(
    program,
    'export',
    'write the merged model as inference engines load it; without --format, list what is possible',
  )
    .addArgument(runArgument())
    .addOption(new Option('--format <format>', 'form of the export').choices(EXPORT_FORMATS))
    .option('--out <path>', 'folder that is made; for gguf also a file that ends in .gguf')
    .addOption(
      new Option('--checkpoint <step>', 'of this step (default: the result of the run)').argParser(wholeNumber),
    )
    .option('--type <type>', 'of the quantized linears: a GGUF type, or fp32, fp16, bf16 for huggingface')
    .addOption(
      new Option(
        '--float-type <type>',
        'of embedding, head and unquantized linears (default: as in the model)',
      ).choices(['F32', 'F16', 'BF16']),
    )
    .addOption(
      new Option('--max-shard-size <size>', 'of a file of weights in a folder: 500MB, 10GB (default: 5GB)').argParser(
        byteCount,
      ),
    )
    .option('--no-measure', 'do not measure what an export that rounds does to perplexity')
    .option('--measure-only', 'measure that and write nothing')
    .option('--force', 'replace an earlier export')
    .addOption(runsOption())
    .option('--json', 'progress and result as JSON, one object a line')
    .addHelpText('after', EXPORT_HELP)
    .action(async (run: string, options: ExportCommandOptions) => finish(await exportCommand(run, options, context)));

  program.commandsGroup(CHECK);
  command(program, 'evaluate', 'perplexity of a run or a model on a text, or its zero-shot accuracy')
    .argument('<run-or-model>', `${RUN_HELP}; or a Hugging Face folder`)
    .option('--data <file...>', 'text to measure perplexity on (.txt, .jsonl, .parquet, .bin; globs)')
    .option('--task <name=file...>', `zero-shot task and its .jsonl file: ${TASK_NAMES.join(', ')}`)
    .addOption(new Option('--limit <questions>', 'of each task, the first so many').argParser(positiveInteger))
    .option('--add-bos', 'put the bos token before every question (default: none)')
    .addOption(
      new Option('--form <form...>', 'only these weights (default: all there are)').choices([
        'float',
        'round-to-nearest',
        'trained',
        'merged',
      ]),
    )
    .addOption(new Option('--sequence-length <tokens>', 'tokens of a sequence').argParser(positiveInteger))
    .option('--device <device>', 'auto, cpu, cuda or cuda:<index> (default: as the run, else auto)')
    .option('--field <name>', 'field of .jsonl lines, column of .parquet files (default: "text")')
    .option('--wikitext', 'the WikiText protocol: every line of a .txt file is a row, rows joined by blank lines')
    .addOption(runsOption())
    .option('--json', 'as JSON')
    .addHelpText('after', EVALUATE_HELP)
    .action(async (target: string, options: EvaluateOptions) => finish(await evaluate(target, options, context)));
  command(program, 'sensitivity', 'what rounding each linear alone costs, and mixed bits for a size')
    .argument('<file>', 'experiment file: its model, grid and validation text')
    .addOption(
      new Option('--bits <list>', 'bit-widths to try, with commas').argParser(bitWidths).default([2, 3, 4], '2,3,4'),
    )
    .addOption(
      new Option('--budget <bits>', 'suggest bits by linear for so many bits a weight, scales included').argParser(
        positiveNumber,
      ),
    )
    .option('--write <file>', 'write the experiment with the suggested bits as a new file')
    .option('--report <file>', 'write the heat map as an HTML page')
    .option('--data <file...>', 'other text to measure on')
    .addOption(
      new Option('--batches <count>', 'batches of about 2048 tokens to measure on')
        .argParser(positiveInteger)
        .default(8),
    )
    .option('--device <device>', 'auto, cpu, cuda or cuda:<index> (default: as the experiment)')
    .addOption(setOption())
    .option('--json', 'as JSON')
    .addHelpText('after', SENSITIVITY_HELP)
    .action(async (file: string, options: SensitivityCommandOptions) =>
      finish(await sensitivity(file, options, context)),
    );
  command(program, 'estimate', 'memory, time and disk that an experiment will need, and what would make it fit')
    .argument('<file>', 'experiment file')
    .addOption(setOption())
    .option('--json', 'as JSON')
    .action(async (file: string, options: EstimateOptions) => finish(await estimateRun(file, options, context)));
  command(program, 'validate', 'find all problems of an experiment file, without training')
    .argument('<file>', 'experiment file')
    .addOption(setOption())
    .option('--json', 'as JSON')
    .action(async (file: string, options: ValidateOptions) => finish(await validate(file, options, context)));
  command(program, 'doctor', 'check this machine and installation')
    .option('--json', 'as JSON')
    .action(async (options: DoctorOptions) => finish(await doctor(options, context)));
  return program;
}

function buildQueue(program: Command, context: Context, finish: (code: number) => void): void {
  const queue = command(program, 'queue', 'list, fill and change the queue of a folder of runs')
    .helpCommand(false)
    .addHelpText('after', QUEUE_HELP);
  queue
    .command('list', { isDefault: true })
    .description('show what waits and what works (also: lrqat queue)')
    .addOption(runsOption())
    .option('--json', 'as JSON')
    .addOption(parallelOption())
    .action(async (options: QueueListOptions) => finish(await listQueue(options, context)));
  queue
    .command('add')
    .description('queue an experiment, all runs of its sweep, or a run that has ended to go on')
    .argument('<file-or-run>', 'experiment file (*.lrqat.json), or a run that was stopped, failed or crashed')
    .addOption(runsOption())
    .addOption(setOption())
    .option('--json', 'one line for each run')
    .option('-y, --yes', 'of a sweep: queue the runs without asking')
    .addOption(parallelOption())
    .action(async (what: string, options: QueueAddOptions) => finish(await addToQueue(what, options, context)));
  queue
    .command('move')
    .description('change the place of a waiting run')
    .addArgument(runArgument())
    .argument('<where>', 'up, down, first, last, or a position from 1')
    .addOption(runsOption())
    .action(async (run: string, to: string, options: RunsOption) => finish(await moveRun(run, to, options, context)));
  queue
    .command('skip')
    .description('let all others go first: the same as move last')
    .addArgument(runArgument())
    .addOption(runsOption())
    .action(async (run: string, options: RunsOption) => finish(await moveRun(run, 'last', options, context)));
  queue
    .command('cancel')
    .description('take waiting runs out of the queue')
    .argument('[runs...]', RUN_HELP)
    .option('--all', 'all that wait')
    .addOption(runsOption())
    .action(async (runs: string[], options: CancelOptions) => finish(await cancelRuns(runs, options, context)));
  queue
    .command('start')
    .description('start a waiting run at once, beside those that work: the same as resume --detach')
    .addArgument(runArgument())
    .addOption(runsOption())
    .action(async (run: string, options: RunsOption) =>
      finish(await resume(run, { ...options, detach: true }, context)),
    );
  queue
    .command('wait')
    .description('stay until nothing waits or works any more')
    .addOption(runsOption())
    .addOption(new Option('--timeout <seconds>', 'leave after so long').argParser(positiveInteger))
    .action(async (options: WaitOptions) => finish(await waitForQueue(options, context)));
}

/** A subcommand whose errors and help end as the program's do. */
function command(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .helpOption('-h, --help', 'print this help')
    .showHelpAfterError(`(lrqat help ${name} explains it)`);
}

const runArgument = (): Argument => new Argument('<run>', RUN_HELP);

function runsOption(what = 'folder with the runs'): Option {
  return new Option('--runs <dir>', `${what} (default: .lrqat/runs, see lrqat --help)`);
}

function setOption(): Option {
  return new Option('--set <key=value>', 'change a key of the experiment; may be repeated')
    .argParser((value: string, before: string[]) => [...before, value])
    .default([], 'none');
}

function timeoutOption(): Option {
  return new Option('--timeout <seconds>', 'how long to wait for the trainer').argParser(positiveInteger).default(60);
}

function parallelOption(): Option {
  return new Option('--parallel <runs>', 'runs at a time on each device, kept with the queue').argParser(
    positiveInteger,
  );
}

function positiveInteger(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('A whole number above 0 is needed.');
}

function positiveNumber(text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('A number above 0 is needed.');
}

/** `2,3,4` */
function bitWidths(text: string): number[] {
  const values = text.split(',').map(Number);
  if (values.every((value) => Number.isInteger(value) && value >= 2 && value <= 8)) return values;
  throw new InvalidArgumentError('Whole numbers from 2 to 8 are needed, as in 2,3,4.');
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0) return value;
  throw new InvalidArgumentError('A whole number is needed.');
}

/** Decimal units, as in transformers' option of this name. */
function byteCount(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(KB|MB|GB)$/i.exec(text.trim());
  const unit = { KB: 1e3, MB: 1e6, GB: 1e9 }[match?.[2]?.toUpperCase() ?? ''];
  const bytes = Math.floor(Number(match?.[1]) * (unit ?? NaN));
  if (bytes > 0) return bytes;
  throw new InvalidArgumentError('A size is needed: 500MB, 10GB.');
}

const OVERVIEW = `Examples:
  lrqat train samples/first-run/w2-rank32.lrqat.json
  lrqat train my.lrqat.json --set training.steps=100 --set quantization.weights.bits=3
  lrqat list
  lrqat resume latest
  lrqat compare latest 20260105-0708 --format markdown

Runs lie in .lrqat/runs of the nearest folder above the experiment that has .lrqat,
else of the nearest with .git, else beside the experiment; --runs DIR says otherwise.
NO_COLOR turns colours off.
`;

const TRAIN_HELP = `
The trainer is a process of its own: it goes on when this terminal is closed.
Ctrl-C stops the run and saves it; a second Ctrl-C stops it at once, without saving.
An experiment with a "sweep" is queued: after a question that says how many runs, how long
and how much disk. Without a terminal nothing is started unless --yes says so.
Not on a terminal, plain lines are printed (a step line at most every two seconds).
With --json every line is one event: the events of metrics.jsonl, "status" when the
state changes, first "run", last "result".

Examples:
  lrqat train w2.lrqat.json
  lrqat train w2.lrqat.json --set training.steps=50 --runs /scratch/runs
  lrqat train w2.lrqat.json --detach && lrqat show latest --follow
  lrqat train sweep.lrqat.json --yes --parallel 2 && lrqat queue wait

${EXIT_CODE_HELP}`;

const SENSITIVITY_HELP = `
Each quantized linear is rounded to nearest alone, all others are float, and the loss is measured
on the same tokens: linears × bit-widths × batches forward passes. Ctrl-C gives up.
With --budget the bits are shared out so that the sum of these losses is least, and the model is
measured with them. The experiment then trains from that start.

Examples:
  lrqat sensitivity w2.lrqat.json
  lrqat sensitivity w2.lrqat.json --bits 2,3,4,8 --budget 2.6 --write w2-mixed.lrqat.json
`;

const QUEUE_HELP = `
A queue belongs to a folder of runs and is nothing but files in it. Each trainer starts the
next run when it ends; when one was killed, or the machine was started again, any command
that looks at the runs starts what waits.

Without a command the queue is listed; options of list:
  --json             as JSON
  --parallel <runs>  runs at a time on each device, kept with the queue

Examples:
  lrqat queue add w2.lrqat.json
  lrqat queue add sweep.lrqat.json --yes --parallel 2
  lrqat queue move w3-rank8 first
  lrqat queue cancel --all
`;

const RESUME_HELP = `
A run restarts from its last complete checkpoint and then computes, to the bit, what it
would have computed without the stop. A finished run only says so.

${EXIT_CODE_HELP}`;

const COMPARE_HELP = `
Examples:
  lrqat compare 20260105-07 20260105-08
  lrqat compare latest baseline-run --format csv > runs.csv
  lrqat compare w2-a w2-b w3 --baseline w3 --format latex
  lrqat compare w2-a w2-b w3 --format html > report.html
`;

const EXPORT_HELP = `
Nothing is quantized again: integers and scales are written as they were trained. Where a
format cannot hold them exactly, the list says so and why. Nothing appears under --out
before it is complete, and nothing is replaced without --force.

Examples:
  lrqat export latest
  lrqat export latest --format gguf --out model.gguf
  lrqat export latest --format huggingface --out exported --type bf16
`;

const EVALUATE_HELP = `
A run is measured in all forms it has: float, round-to-nearest, trained (its last
checkpoint), merged. A model folder is measured as it is.

Examples:
  lrqat evaluate latest --data test.txt
  lrqat evaluate path/to/model --data wiki.test.raw --sequence-length 2048
  lrqat evaluate latest --task piqa=piqa.jsonl --task boolq=boolq.jsonl --limit 500
`;
