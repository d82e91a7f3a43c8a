// Speed and memory of the engine on this machine: bundles test/bench and runs it. Options go to the benchmark; see
// test/bench/main.ts.
import { main, run } from './lib.mjs';
import { setup } from './setup.mjs';

await main(async () => {
  await setup();
  const { build } = await import('esbuild');
  await build({
    entryPoints: ['test/bench/main.ts'],
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    packages: 'external',
    external: ['*.node'],
    outfile: 'dist/bench/main.mjs',
    logLevel: 'warning',
  });
  // As the launcher starts a trainer: idle threads sleep instead of spinning.
  run(process.execPath, ['dist/bench/main.mjs', ...process.argv.slice(2)], { env: { OMP_WAIT_POLICY: 'passive' } });
});
