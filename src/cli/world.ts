// What validation and estimates ask of this machine. The engine itself is only looked at in a child process.
import path from 'node:path';
import type { World } from '../experiment';
import { openWorld, thisMachine } from '../experiment/world';
import { probeNative } from '../launch';

/** @param experimentFile relative paths start at its folder
 *  @param runsFolder where the run would lie */
export async function worldFor(experimentFile: string, runsFolder: string): Promise<World> {
  const probe = await probeNative();
  // Without an engine the answers are those of a plain processor; whether there is one is not this question.
  const machine = probe.ok
    ? thisMachine({
        nativeBf16: probe.cpu.bf16 !== 'none' && probe.cpu.gemm !== null,
        logicalCores: probe.cpu.logicalCores,
      })
    : thisMachine({ nativeBf16: false });
  return openWorld({ machine, baseFolder: path.dirname(experimentFile), runsFolder, addonFile: null });
}
