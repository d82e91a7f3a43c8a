// Tests and measurements that need a GPU and nvcc, as native executables in build/gpu.
//   node scripts/gpu.mjs test             kernels against plain references, the engine against the one on the CPU
//   node scripts/gpu.mjs bench [OPTIONS]  training steps at the shapes of real models (options: native/cuda/test/bench_engine.cpp)
//   node scripts/gpu.mjs bench node [OPTIONS]  the same through the addon, as the product makes them (options: test/bench/gpu.ts)
import os from 'node:os';
import path from 'node:path';
import { spawnSync } from 'node:child_process';
import { main, root, run, ScriptError, versionOf, withLock } from './lib.mjs';

const folder = path.join(root, 'build', 'gpu');

function build(targets) {
  if (versionOf('nvcc') === null) throw new ScriptError('nvcc was not found: install the CUDA toolkit');
  const options = ['-DCMAKE_BUILD_TYPE=Release', '-DLRQAT_ADDON=OFF', '-DLRQAT_TESTS=ON'];
  const cuda = ['-DLRQAT_CUDA=ON', '-DLRQAT_CUDA_TESTS=ON'];
  const generator = versionOf('ninja') === null ? [] : ['-G', 'Ninja'];
  run('cmake', ['-S', path.join(root, 'native'), '-B', folder, ...generator, ...options, ...cuda]);
  const jobs = String(os.availableParallelism());
  run('cmake', ['--build', folder, '--parallel', jobs, ...targets.flatMap((target) => ['--target', target])]);
}

/** Where `lrqat doctor` finds cuBLASLt; nothing: what the loader finds. */
function cublasLt() {
  const { stdout } = spawnSync(process.execPath, [path.join(root, 'dist', 'cli.js'), 'doctor', '--json'], {
    encoding: 'utf8',
  });
  try {
    const found = JSON.parse(stdout).find(({ name }) => name === 'cuBLASLt')?.value;
    return found === undefined ? {} : { LRQAT_CUBLASLT: found };
  } catch {
    return {};
  }
}

/** Training steps through Node, with the build that `npm run setup` makes. */
async function benchNode(options) {
  const { setup } = await import('./setup.mjs');
  await setup();
  const { bundlePrograms } = await import('./bundle.mjs');
  await bundlePrograms(['test/bench/gpu.ts'], 'dist/bench');
  run(process.execPath, ['dist/bench/gpu.mjs', ...options]);
}

await main(async () => {
  const [task, ...options] = process.argv.slice(2);
  const env = { LRQAT_TEST_CUDA: path.join(folder, 'cuda', 'liblrqat_cuda.so'), ...cublasLt() };
  if (task === 'test') {
    await withLock(path.join(folder, '.lock'), () => build([]));
    run('ctest', ['--test-dir', folder, '--output-on-failure', '--no-tests=error', '-R', '^cuda_'], { env });
  } else if (task === 'bench' && options[0] === 'node') {
    await benchNode(options.slice(1));
  } else if (task === 'bench') {
    await withLock(path.join(folder, '.lock'), () => build(['lrqat_cuda', 'cuda_bench_engine']));
    const bench = path.join(folder, 'cuda', 'test', 'cuda_bench_engine');
    if (options.length > 0) {
      run(bench, options, { env });
      return;
    }
    // The settings of docs/measurements: speed, least memory, clipped entries, other storages, other models and methods.
    run(bench, ['--model', '7b', '--micro-batches', '1,4,8', '--checkpointing', 'none'], { env });
    for (const host of ['embeddings', 'optimizer'])
      run(bench, ['--model', '7b', '--micro-batches', '1,4,8', '--checkpointing', 'block', '--host', host], { env });
    run(bench, ['--model', '7b', '--micro-batches', '4', '--checkpointing', 'none', '--storage', 'fixed-point'], {
      env,
    });
    for (const clipped of ['0.001', '0.01', '0.03'])
      run(bench, ['--model', '7b', '--micro-batches', '4', '--checkpointing', 'none', '--clipped', clipped], { env });
    for (const model of ['1b', '8b', '13b'])
      run(bench, ['--model', model, '--micro-batches', '1,4', '--host', 'embeddings'], { env });
    for (const other of [
      '',
      '--method lsq',
      '--train norms,head,embeddings',
      '--method lsq --train norms,head,embeddings',
      '--activations a8',
      '--activations a8-kv4',
      '--activations a8 --ranges learned',
      '--teacher 64',
    ]) {
      const settings = other === '' ? [] : other.split(' ');
      run(bench, ['--model', '1b', '--micro-batches', '4', '--checkpointing', 'none', ...settings], { env });
    }
    await benchNode([]);
  } else {
    throw new ScriptError('usage: node scripts/gpu.mjs test | bench [node] [OPTIONS]');
  }
});
