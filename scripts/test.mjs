// All checks, from a bare clone: set-up, lint, native tests, the same under sanitizers, webviews in a
// browser, TypeScript tests. Every stage runs even
// when an earlier one failed; the TypeScript tests come last, so that the output ends with their summary.
import { main, printStages, run, ScriptError, stage } from './lib.mjs';
import { setup } from './setup.mjs';

const node = (...args) => run(process.execPath, args);
/** A test file that has not ended after this long is failed: one that hangs must not hide what the others say. */
const FILE_TIMEOUT = '--test-timeout=900000';

await main(async () => {
  await setup({ dev: true });
  const failed = [];
  const attempt = async (name, body) => {
    try {
      await stage(name, body);
    } catch (error) {
      if (!(error instanceof ScriptError)) throw error;
      console.error(error.message);
      failed.push(name);
    }
  };
  await attempt('lint', () => node('scripts/lint.mjs'));
  await attempt('native tests', () => node('scripts/native.mjs', '--tests'));
  await attempt('native tests under sanitizers', () => node('scripts/native.mjs', '--sanitize'));
  await attempt('test bundles', () => node('scripts/build.mjs', '--tests'));
  const { globSync } = await import('tinyglobby');
  // One after the other and alone: they look at frames.
  const browser = 'dist/test/webview/browser/*.test.mjs';
  await attempt('webviews in a browser', () =>
    node('--test', FILE_TIMEOUT, '--test-concurrency=1', '--test-reporter=spec', ...globSync([browser]).sort()),
  );
  await attempt('VS Code', async () => (await import('./vscode-tests.mjs')).vscodeTests());
  printStages();
  if (failed.length > 0) console.error(`\nFAILED so far: ${failed.join(', ')}`);

  const files = globSync(['dist/test/**/*.test.mjs'], { ignore: [browser] }).sort();
  console.log(`\n── TypeScript tests (${String(files.length)} files)`);
  try {
    if (files.length === 0) throw new ScriptError('no test file was bundled');
    node('--test', FILE_TIMEOUT, '--test-reporter=spec', ...files);
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    failed.push('TypeScript tests');
  }
  if (failed.length > 0) throw new ScriptError(`FAILED: ${failed.join(', ')}`);
});
