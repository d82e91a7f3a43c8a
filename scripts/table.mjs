// The methods side by side: bundles test/table and runs it. Options: test/table/main.ts.
import { main, run, runModule } from './lib.mjs';
import { setup } from './setup.mjs';

await main(async () => {
  await setup();
  const { build } = await import('esbuild');
  await build({
    entryPoints: ['test/table/main.ts'],
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    packages: 'external',
    external: ['*.node'],
    outfile: 'dist/table/main.mjs',
    logLevel: 'warning',
  });
  run(process.execPath, ['dist/table/main.mjs', ...process.argv.slice(2)]);
  runModule('prettier/bin/prettier.cjs', ['--write', '--log-level=warn', 'docs/results.md']);
});
