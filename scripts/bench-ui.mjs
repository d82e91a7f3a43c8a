// Speed of what users look at: bundles every test/bench/ui/*.bench.ts and runs them one after the other.
import path from 'node:path';
import { main, run } from './lib.mjs';
import { setup } from './setup.mjs';

await main(async () => {
  await setup();
  const { build } = await import('esbuild');
  const { globSync } = await import('tinyglobby');
  const files = globSync(['test/bench/ui/*.bench.ts']).sort();
  await build({
    entryPoints: files,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    packages: 'external',
    external: ['*.node', 'vscode'],
    outdir: 'dist/bench/ui',
    outExtension: { '.js': '.mjs' },
    logLevel: 'warning',
  });
  for (const file of files) {
    console.log(`\n── ${path.basename(file, '.bench.ts')}`);
    run(process.execPath, [`dist/bench/ui/${path.basename(file, '.ts')}.mjs`, ...process.argv.slice(2)]);
  }
});
