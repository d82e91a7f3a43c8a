// The main job in a terminal, on the sample that ships with the repository: set-up, then the real command line.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { main, root, run, ScriptError } from './lib.mjs';
import { setup } from './setup.mjs';

const experiment = 'samples/first-run/w2-rank32.lrqat.json';

await main(async () => {
  await setup();
  if (!existsSync(path.join(root, experiment))) throw new ScriptError(`${experiment} is missing`);
  console.log(`\n$ lrqat train ${experiment}\n`);
  run(process.execPath, ['dist/cli.js', 'train', experiment, ...process.argv.slice(2)]);
});
