// result.json: what a finished run came to; written once.
import { readJson } from './json-file';
import { runPaths } from './layout';
import { parseResult, type RunResult } from './result-values';

export { gapClosed, parseResult, RESULT_SCHEMA, type FourPerplexities, type RunResult } from './result-values';

/** null: there is none (yet). */
export async function readResult(runDirectory: string): Promise<RunResult | null> {
  return parseResult(await readJson(runPaths(runDirectory).result));
}
