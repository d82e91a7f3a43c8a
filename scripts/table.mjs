// The methods side by side: bundles test/table and runs it. Options: test/table/main.ts.
import { main, run, runModule } from './lib.mjs';
import { setup } from './setup.mjs';

await main(async () => {
  await setup();
  // Only now: it needs what the set-up installs.
  const { bundlePrograms } = await import('./bundle.mjs');
  await bundlePrograms(['test/table/main.ts'], 'dist/table');
  run(process.execPath, ['dist/table/main.mjs', ...process.argv.slice(2)]);
  runModule('prettier/bin/prettier.cjs', ['--write', '--log-level=warn', 'docs/results.md']);
});
