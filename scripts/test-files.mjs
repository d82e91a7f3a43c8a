// Runs test files with node:test, and those that failed once more: real windows, browsers and processes on a busy machine may
// miss a moment, a fault does not go away. What passed only then is named, so that it is mended and not forgotten.
//   node scripts/test-files.mjs [--alone] [--except GLOB] GLOB
//   --alone  one file after the other; else one a processor
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { globSync } from 'tinyglobby';
import { main, root, run, ScriptError } from './lib.mjs';

/** A test file that has not ended after this long is failed: one that hangs must not hide what the others say. */
const FILE_TIMEOUT = '--test-timeout=900000';
/** With more failures than this something is broken, and a second run of everything would only cost time. */
const MOST_RETRIED = 3;

/**
 * @param options `alone`: one file after the other
 * @returns a note for the list of stages: which files passed at the second try only, or null
 * @throws {ScriptError} when a file fails twice
 */
export function runTestFiles(files, { alone = false, env = {} } = {}) {
  if (files.length === 0) throw new ScriptError('no test file was bundled');
  const scratch = mkdtempSync(path.join(tmpdir(), 'lrqat-tests-'));
  const list = path.join(scratch, 'failed');
  const attempt = (chosen) =>
    run(
      process.execPath,
      [
        '--test',
        FILE_TIMEOUT,
        `--test-concurrency=${String(alone ? 1 : availableParallelism())}`,
        ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
        ...['--test-reporter=./scripts/failed-files-reporter.mjs', `--test-reporter-destination=${list}`],
        ...chosen,
      ],
      { env },
    );
  try {
    try {
      attempt(files);
      return null;
    } catch (error) {
      if (!(error instanceof ScriptError)) throw error;
      const failed = new Set(readFileSync(list, 'utf8').split('\n'));
      const again = files.filter((file) => failed.has(path.resolve(root, file)));
      if (again.length === 0 || again.length > MOST_RETRIED) throw error;
      console.log(`\n── once more: ${again.join(', ')}`);
      attempt(again);
      return `only at the second try: ${again.map((file) => path.basename(file)).join(', ')}`;
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(() => {
    const { values, positionals } = parseArgs({
      options: { alone: { type: 'boolean', default: false }, except: { type: 'string', default: '' } },
      allowPositionals: true,
    });
    const files = globSync(positionals, { cwd: root, ignore: [values.except] });
    const note = runTestFiles(files.sort(), values);
    if (note !== null) console.log(`note: ${note}`);
  });
}
