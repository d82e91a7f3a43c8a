// Builds the native code: `node scripts/native.mjs` makes build/Release/lrqat.node (and the oneDNN glue beside it where oneDNN
// is installed). Incremental: with nothing changed it asks the build tool and is done.
//   --tests     also builds the native tests and runs them
//   --sanitize  builds the native tests alone with address and undefined-behaviour sanitizers and runs them
//   --jobs N    compiler processes at a time (default: one a core)
import { existsSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { main, root, run, runModule, ScriptError, versionOf, withLock } from './lib.mjs';

const source = path.join(root, 'native');

/** A value of a build folder's cache, or null. */
function cached(folder, key) {
  const file = path.join(folder, 'CMakeCache.txt');
  if (!existsSync(file)) return null;
  const line = readFileSync(file, 'utf8')
    .split(/\r?\n/)
    .find((text) => text.startsWith(`${key}:`));
  return line === undefined ? null : line.slice(line.indexOf('=') + 1);
}

/** CMake has written what the build tool reads: of Ninja, make, Visual Studio or Xcode. Its cache alone says nothing: a first
 *  configuration that fails leaves one. */
function isConfigured(folder) {
  return ['build.ninja', 'Makefile', 'lrqat.sln', 'lrqat.xcodeproj'].some((name) =>
    existsSync(path.join(folder, name)),
  );
}

/** A folder configured for another place (a copied or moved clone) or left by a failed configuration is of no use. */
function dropForeignBuild(folder) {
  const home = cached(folder, 'CMAKE_HOME_DIRECTORY');
  const foreign = home === null || path.resolve(home) !== source || !isConfigured(folder);
  if (existsSync(path.join(folder, 'CMakeCache.txt')) && foreign) {
    rmSync(path.join(folder, 'CMakeCache.txt'), { force: true });
    rmSync(path.join(folder, 'CMakeFiles'), { recursive: true, force: true });
  }
}

function cmakeJs(command, options) {
  const args = [command, '-d', 'native', '-O', 'build', '-B', 'Release', '-l', 'warn', ...options];
  runModule('cmake-js/bin/cmake-js', args);
}

function ctest(folder, jobs) {
  run('ctest', ['--test-dir', folder, '--output-on-failure', '--no-tests=error', '--parallel', jobs], {
    // The first finding fails the test.
    env: { UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1', OMP_NUM_THREADS: '2' },
  });
}

async function buildAddon({ tests, jobs }) {
  const folder = path.join(root, 'build');
  await withLock(path.join(root, 'build', '.lock'), () => {
    dropForeignBuild(folder);
    // Once on, the tests stay configured: switching back and forth would throw their objects away. A oneDNN that was not
    // there last time may be there now.
    const needsConfigure =
      cached(folder, 'CMAKE_BUILD_TYPE') === null ||
      (tests && cached(folder, 'LRQAT_TESTS') !== 'ON') ||
      (cached(folder, 'ONEDNN_LIBRARY')?.endsWith('NOTFOUND') ?? true);
    // Users get the CUDA backend where they have a GPU; the tests build it wherever it can be.
    const cuda = ['--CDLRQAT_CUDA=ON', '--CDLRQAT_CUDA_QUICK=ON'];
    const everything = ['--CDLRQAT_TESTS=ON', ...(versionOf('nvcc') === null ? [] : cuda)];
    if (needsConfigure) cmakeJs('configure', tests ? everything : []);
    // cmake-js can build one target: everything, or the addon with what it depends on.
    cmakeJs('build', ['-p', jobs, ...(tests ? [] : ['-T', 'lrqat_addon'])]);
    if (!existsSync(path.join(folder, 'Release', 'lrqat.node'))) {
      throw new ScriptError('the build ended without build/Release/lrqat.node');
    }
    if (tests) ctest(folder, jobs);
  });
}

async function buildSanitized({ jobs }) {
  const folder = path.join(root, 'build', 'sanitize');
  await withLock(path.join(folder, '.lock'), () => {
    dropForeignBuild(folder);
    if (cached(folder, 'LRQAT_SANITIZE') === null) {
      const generator = versionOf('ninja') === null ? [] : ['-G', 'Ninja'];
      run('cmake', [
        ...['-S', 'native', '-B', folder, ...generator],
        // Instrumented code takes three times as long to compile with full optimization and debug information, for the same
        // findings: line numbers are all that a report needs.
        ...['-DCMAKE_BUILD_TYPE=None', '-DCMAKE_CXX_FLAGS=-O1 -g1'],
        ...['-DLRQAT_TESTS=ON', '-DLRQAT_ADDON=OFF', '-DLRQAT_CUDA=OFF', '-DLRQAT_SANITIZE=address,undefined'],
      ]);
    }
    run('cmake', ['--build', folder, '--parallel', jobs]);
    ctest(folder, jobs);
  });
}

await main(async () => {
  const { values } = parseArgs({
    options: {
      tests: { type: 'boolean', default: false },
      sanitize: { type: 'boolean', default: false },
      jobs: { type: 'string', default: String(os.availableParallelism()) },
    },
  });
  if (versionOf('cmake') === null)
    throw new ScriptError('cmake is not installed: run `npm run setup`, which installs it');
  if (values.sanitize) await buildSanitized(values);
  else await buildAddon(values);
});
