// lrqat doctor
import { doctor as examine } from '../../launch';
import type { Context } from '../context';
import { EXIT } from '../exit-codes';

export interface DoctorOptions {
  readonly json?: boolean;
}

const MARKS = { ok: ['green', 'ok'], warning: ['yellow', 'note'], error: ['red', 'PROBLEM'] } as const;

export async function doctor(options: DoctorOptions, context: Context): Promise<number> {
  const facts = await examine({ folder: context.folder });
  const { output } = context;
  if (options.json === true) output.line(JSON.stringify(facts, null, 2));
  else {
    const width = Math.max(...facts.map(({ name }) => name.length));
    for (const { name, ok, value, hint } of facts) {
      const [style, word] = MARKS[ok];
      output.line(`${output.paint(style, word.padEnd(7))}  ${name.padEnd(width)}  ${value}`);
      if (hint !== null) output.line(`${' '.repeat(9)}${' '.repeat(width)}  hint: ${hint}`);
    }
  }
  return facts.some(({ ok }) => ok === 'error') ? EXIT.machine : EXIT.ok;
}
