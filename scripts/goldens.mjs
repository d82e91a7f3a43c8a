// Golden vectors against the native engine: `npm run test:goldens -- DIR` runs the tests of test/goldens on any folder of the
// layout of test/goldens/data, which is the default.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { main, root, run, ScriptError } from './lib.mjs';
import { setup } from './setup.mjs';

await main(async () => {
  const folder = path.resolve(
    process.env.INIT_CWD ?? process.cwd(),
    process.argv[2] ?? path.join(root, 'test/goldens/data'),
  );
  if (!existsSync(folder)) throw new ScriptError(`${folder}: no such folder`);
  await setup();
  run(process.execPath, ['scripts/build.mjs', '--tests']);
  const { globSync } = await import('tinyglobby');
  const files = globSync(['dist/test/goldens/**/*.test.mjs'], { cwd: root }).sort();
  console.log(`\ngoldens of ${folder}\n`);
  run(process.execPath, ['--test', '--test-reporter=spec', ...files], { env: { LRQAT_GOLDENS: folder } });
});
