// lrqat new [PRESET]
import { existsSync } from 'node:fs';
import path from 'node:path';
import { UserError } from '../../errors';
import { experimentText } from '../../experiment/experiment-text';
import { PRESETS, presetComments } from '../../experiment/presets';
import { nodeFileSystem, writeFileAtomic } from '../../formats';
import { shortPath, type Context } from '../context';
import { EXIT } from '../exit-codes';
import { renderTable } from '../table';

export interface NewOptions {
  readonly model?: string;
  readonly train?: readonly string[];
  readonly validation?: readonly string[];
  readonly out?: string;
}

export async function newExperiment(id: string | undefined, options: NewOptions, context: Context): Promise<number> {
  const { output } = context;
  if (id === undefined) {
    const rows = PRESETS.map((preset) => [preset.id, preset.title]);
    const columns = [{ title: 'preset' }, { title: '', shrinkTo: 30 }];
    const header = (text: string): string => output.paint('bold', text);
    for (const line of renderTable(columns, rows, { width: output.width(), header })) output.line(line);
    return EXIT.ok;
  }
  const preset = PRESETS.find((each) => each.id === id || each.id === `paper/${id}`);
  if (preset === undefined) {
    throw new UserError('NoSuchPreset', `no preset "${id}"`, {
      hint: `There are ${PRESETS.map((each) => each.id).join(', ')}.`,
    });
  }
  if (options.model === undefined) {
    throw new UserError('Usage', '--model is missing', {
      hint: 'Name a Hugging Face folder or the hub id of a cached model.',
    });
  }
  const target = path.resolve(context.folder, options.out ?? `${preset.name}.lrqat.json`);
  if (existsSync(target)) {
    throw new UserError('FileExists', `${shortPath(context, target)}: exists already`, {
      hint: 'Nothing is overwritten: name another file with --out FILE.',
    });
  }
  if (!existsSync(path.dirname(target))) {
    throw new UserError('NoSuchFolder', `--out ${shortPath(context, target)}: its folder is not there`, {
      hint: 'Make the folder first, or name a file in one that is there.',
    });
  }
  const written = (name: string): string => fromFile(name, target, context);
  await writeFileAtomic(
    nodeFileSystem,
    target,
    experimentText({
      comments: presetComments(preset),
      model: existsSync(path.resolve(context.folder, options.model)) ? written(options.model) : options.model,
      train: (options.train ?? []).map(written),
      validation: (options.validation ?? []).map(written),
      trainHint: 'Text to train on: .txt, .jsonl, .parquet or .bin files; globs work.',
      data: preset.data,
      quantization: preset.quantization,
      training: preset.training,
    }),
  );
  output.line(shortPath(context, target));
  return EXIT.ok;
}

/** A path given on the command line as the experiment file needs it: relative to that file, if it was relative. */
function fromFile(name: string, file: string, { folder }: Context): string {
  if (path.isAbsolute(name) || name.startsWith('~') || name.startsWith('$')) return name;
  return path.relative(path.dirname(file), path.resolve(folder, name)).split(path.sep).join('/');
}
