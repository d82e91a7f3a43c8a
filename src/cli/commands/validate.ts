// lrqat validate FILE
import path from 'node:path';
import { countProblems, formatProblems } from '../../experiment';
import { runsFolderFor } from '../../runs';
import type { Context } from '../context';
import { EXIT } from '../exit-codes';
import { readExperiment } from '../experiment-input';

export interface ValidateOptions {
  readonly set: readonly string[];
  readonly json?: boolean;
}

export async function validate(file: string, options: ValidateOptions, context: Context): Promise<number> {
  const runsFolder = runsFolderFor(path.resolve(context.folder, file));
  const { problems, text } = await readExperiment(file, options.set, runsFolder, context);
  const { output } = context;
  if (options.json === true) output.line(JSON.stringify(problems, null, 2));
  else {
    output.write(formatProblems(problems, { [file]: text }));
    output.line(`${file}: ${countProblems(problems)}`);
  }
  return problems.some(({ severity }) => severity === 'error') ? EXIT.badInput : EXIT.ok;
}
