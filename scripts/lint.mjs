// Lint and formatting of everything: types (tsc), eslint with type information, prettier, clang-format. Warnings are errors.
//   --fix  writes what the tools can fix
import { main, printStages, run, runModule, ScriptError, stage } from './lib.mjs';

const fix = process.argv.includes('--fix');

await main(async () => {
  const { globSync } = await import('tinyglobby');
  const native = globSync(['native/**/*.{h,hpp,cpp,cc,cu,cuh}']);
  const checks = {
    types: () => {
      // Webviews have types of their own: the browser's, and none of Node.
      for (const project of [
        'tsconfig.json',
        'webview/tsconfig.json',
        'test/webview/tsconfig.json',
        'test/bench/ui/tsconfig.json',
      ]) {
        runModule('typescript/bin/tsc', ['--noEmit', '-p', project]);
      }
    },
    eslint: () => runModule('eslint/bin/eslint.js', ['--max-warnings', '0', ...(fix ? ['--fix'] : []), '.']),
    prettier: () => runModule('prettier/bin/prettier.cjs', ['--log-level', 'warn', fix ? '--write' : '--check', '.']),
    'clang-format': () => run('clang-format', [...(fix ? ['-i'] : ['--dry-run', '-Werror']), ...native]),
  };
  const failed = [];
  for (const [name, check] of Object.entries(checks)) {
    try {
      await stage(name, check);
    } catch (error) {
      if (!(error instanceof ScriptError)) throw error;
      failed.push(name);
    }
  }
  printStages();
  if (failed.length > 0)
    throw new ScriptError(`failed: ${failed.join(', ')}${fix ? '' : ' (npm run format fixes what tools can fix)'}`);
});
