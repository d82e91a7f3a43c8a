// Speed and memory of the engine on this machine: bundles test/bench and runs it. Options go to the benchmark; see
// test/bench/main.ts.
import { main, run } from './lib.mjs';
import { setup } from './setup.mjs';

await main(async () => {
  await setup();
  // Only now: it needs what the set-up installs.
  const { bundlePrograms } = await import('./bundle.mjs');
  await bundlePrograms(['test/bench/main.ts'], 'dist/bench');
  // As the launcher starts a trainer: idle threads sleep instead of spinning.
  run(process.execPath, ['dist/bench/main.mjs', ...process.argv.slice(2)], { env: { OMP_WAIT_POLICY: 'passive' } });
});
