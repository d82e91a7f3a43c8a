// What a run is made with and from: for people in log.txt, for programs in provenance.json.

import { describeCheckpointing, formatBytes } from '../experiment';
import { totalBytes } from '../experiment/memory-layout';
import { hashFiles } from '../runs';
import { readJson } from '../runs/json-file';
import { parseProvenance } from '../runs/provenance';
import type { PreparedRun } from './session';

/** What this attempt computes with, and whether that gives the bits of the first. */
export async function logChoices({ writer, choices, departures }: PreparedRun): Promise<void> {
  const { compute, threads, isa, gemm, plan } = choices;
  const products = gemm === null ? 'built-in products' : `${gemm.library} ${gemm.version}`;
  await writer.log(
    `${compute}, ${String(threads)} threads, ${isa}, ${products}, ${describeCheckpointing(choices)}, ${formatBytes(totalBytes(plan))}`,
  );
  if (departures.length === 0) return;
  await writer.log(`this attempt will not be equal to the bit to an uninterrupted run: ${departures.join('; ')}`);
}

/** Adds device and hashes; hashing large files goes on while the run works, and is given up with it. */
export async function recordProvenance(run: PreparedRun, signal: AbortSignal): Promise<void> {
  const { writer, choices, model } = run;
  const { plan: _plan, data: _data, schema: _schema, ...device } = choices;
  await writer.updateProvenance({ device });
  if (parseProvenance(await readJson(writer.paths.provenance)).hashes) return;
  try {
    const hashes = {
      model: await hashFiles(model.files, signal),
      data: await hashFiles(run.corpusFiles, signal),
      tokenizer: await hashFiles([model.tokenizerFile], signal),
    };
    await writer.updateProvenance({ hashes });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
