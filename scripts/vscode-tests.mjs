// Tests in a real VS Code against the packaged extension: `npm run test:vscode`. Where such a VS Code cannot be had, one line says so.
//   --latest      the newest VS Code of scripts/vscode-server.mjs instead of the oldest
//   --only NAME   the suites whose file name contains NAME
import { build } from 'esbuild';
import { mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { pathToFileURL } from 'node:url';
import { globSync } from 'tinyglobby';
import { main, root, run } from './lib.mjs';
import { runTestFiles } from './test-files.mjs';
import { findBrowser, NoVSCode, vscodeServer } from './vscode-server.mjs';

const suites = path.join(root, 'dist', 'e2e');
const hostTests = path.join(root, 'dist', 'host-tests');

export async function bundleSuites() {
  for (const folder of [suites, hostTests]) rmSync(folder, { recursive: true, force: true });
  const shared = { bundle: true, platform: 'node', target: 'node20', sourcemap: 'linked', logLevel: 'warning' };
  await build({
    ...shared,
    entryPoints: globSync(['test/vscode/*.{e2e,bench,shots}.ts'], { cwd: root }),
    outdir: suites,
    packages: 'external',
    format: 'esm',
    outExtension: { '.js': '.mjs' },
  });
  // Loaded by the extension host, which gives them `vscode`.
  await build({
    ...shared,
    entryPoints: globSync(['test/vscode/host/index.ts'], { cwd: root }),
    outdir: hostTests,
    format: 'cjs',
    external: ['vscode', 'mocha', '*.node'],
  });
}

/** Environment of the suites: where VS Code, the package and the browser are. */
export async function prepare({ latest = false } = {}) {
  const server = await vscodeServer({ latest });
  const vsix = path.join(root, 'build', 'test.vsix');
  mkdirSync(path.dirname(vsix), { recursive: true });
  run(process.execPath, ['scripts/package.mjs', '--out', vsix]);
  await bundleSuites();
  return { LRQAT_VSCODE: server, LRQAT_VSIX: vsix, CHROMIUM: findBrowser() ?? '' };
}

/** @returns a note for the list of stages: null, why nothing was run, or what passed at the second try only */
export async function vscodeTests({ latest = false, only = '' } = {}) {
  let env;
  try {
    env = await prepare({ latest });
  } catch (error) {
    if (!(error instanceof NoVSCode)) throw error;
    return `skipped: a VS Code to test in ${error.message}`;
  }
  const files = globSync(['dist/e2e/*.e2e.mjs'], { cwd: root }).filter((file) => path.basename(file).includes(only));
  // One suite after the other: two windows at a time on two cores would time each other out.
  return runTestFiles(files.sort(), { alone: true, env });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(async () => {
    const { values } = parseArgs({
      options: { latest: { type: 'boolean', default: false }, only: { type: 'string', default: '' } },
    });
    const note = await vscodeTests(values);
    if (note !== null) console.log(`note: ${note}`);
  });
}
