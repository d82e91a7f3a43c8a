// All checks, from a bare clone: set-up, lint, native tests, the same under sanitizers, webviews in a
// browser, TypeScript tests. Every stage runs even
// when an earlier one failed; the TypeScript tests come last, so that the output ends with their summary.
import { main, printStages, run, ScriptError, stage } from './lib.mjs';
import { setup } from './setup.mjs';
import { runTestFiles } from './test-files.mjs';

const node = (...args) => run(process.execPath, args);

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
  await attempt('webviews in a browser', () => runTestFiles(globSync([browser]).sort(), { alone: true }));
  await attempt('VS Code', async () => (await import('./vscode-tests.mjs')).vscodeTests());
  printStages();
  if (failed.length > 0) console.error(`\nFAILED so far: ${failed.join(', ')}`);

  const files = globSync(['dist/test/**/*.test.mjs'], { ignore: [browser] }).sort();
  console.log(`\n── TypeScript tests (${String(files.length)} files)`);
  try {
    const note = runTestFiles(files);
    if (note !== null) console.log(note);
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    failed.push('TypeScript tests');
  }
  if (failed.length > 0) throw new ScriptError(`FAILED: ${failed.join(', ')}`);
});
