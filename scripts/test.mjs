// All checks, from a bare clone: set-up, lint, native tests, the same under sanitizers, webviews in a browser, VS Code, TypeScript
// tests. Windows and processes wait more than they compute, compilers and linters compute alone: beside one another they fill
// the processors, and those that only compute stand back. Every stage runs even when another one failed that it does not
// need; the TypeScript tests come last, so that the output ends with their summary.
import { main, ScriptError, stage } from './lib.mjs';
import { checkNode, systemPackages } from './setup.mjs';
import { runStages } from './stages.mjs';

const browserTests = 'dist/test/webview/browser/*.test.mjs';

await main(async () => {
  await stage('Node', checkNode);
  await stage('system packages', () => systemPackages(true));
  const failed = await runStages([
    { name: 'npm packages', script: ['setup.mjs', '--only', 'npm packages'] },
    // It asks for none of npm's packages.
    { name: 'native tests under sanitizers', script: ['native.mjs', '--sanitize'], nice: 15 },
    { name: 'native build', script: ['native.mjs'], needs: ['npm packages'] },
    { name: 'bundles', script: ['build.mjs', '--tests'], needs: ['npm packages'] },
    // Where there can be none, the stage that uses it says so.
    { name: 'VS Code server', script: ['vscode-server.mjs', '--if-possible'], needs: ['npm packages'], nice: 5 },
    { name: 'native tests', script: ['native.mjs', '--tests'], needs: ['native build'], nice: 10 },
    { name: 'lint', script: ['lint.mjs'], needs: ['npm packages'], after: ['native tests'], nice: 19 },
    // Alone among themselves, one file after the other: they look at frames, and two windows on two cores would time each other
    // out.
    { name: 'webviews in a browser', script: ['test-files.mjs', '--alone', browserTests], needs: ['bundles'] },
    {
      name: 'VS Code',
      script: ['vscode-tests.mjs'],
      needs: ['native build', 'bundles'],
      // A window beside two compilers at once is too slow for some of what its tests wait for.
      after: ['VS Code server', 'webviews in a browser', 'native tests'],
    },
    {
      name: 'TypeScript tests',
      script: ['test-files.mjs', '--except', browserTests, 'dist/test/**/*.test.mjs'],
      needs: ['native build', 'bundles'],
      // Some look at the CUDA library, which the native tests build.
      after: ['native tests', 'VS Code'],
    },
  ]);
  if (failed.length > 0) throw new ScriptError(`FAILED: ${failed.join(', ')}`);
});
