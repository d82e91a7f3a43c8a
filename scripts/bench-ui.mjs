// Speed of what users look at: bundles every test/bench/ui/*.bench.ts and runs them one after the other.
import path from 'node:path';
import { main, run } from './lib.mjs';
import { setup } from './setup.mjs';

await main(async () => {
  await setup();
  // Only now: it needs what the set-up installs.
  const { bundlePrograms } = await import('./bundle.mjs');
  const { globSync } = await import('tinyglobby');
  const files = globSync(['test/bench/ui/*.bench.ts']).sort();
  await bundlePrograms(files, 'dist/bench/ui');
  for (const file of files) {
    console.log(`\n── ${path.basename(file, '.bench.ts')}`);
    run(process.execPath, [`dist/bench/ui/${path.basename(file, '.ts')}.mjs`, ...process.argv.slice(2)]);
  }
});
