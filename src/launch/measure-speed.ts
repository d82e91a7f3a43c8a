// How fast this machine would train an experiment, found by a child process that does so for a moment: the answer may be a crash, and
// the memory and the threads of the engine must not stay behind in this one.
import { execFile } from 'node:child_process';
import { messageOf } from '../errors';
import type { Calibration } from '../experiment/calibration';
import { checkedCalibration } from '../experiment/measured-calibration';
import type { Experiment } from '../experiment/schema';
import { childEnvironment } from './environment';
import { findTrainer } from './spawn-trainer';

/** Rates, or why there are none: no native build, a crash, too slow. */
export type SpeedMeasurement =
  { readonly ok: true; readonly rates: Calibration } | { readonly ok: false; readonly reason: string };

/** @param experiment with all paths resolved */
export async function measureSpeed(experiment: Experiment, timeout = 60_000): Promise<SpeedMeasurement> {
  try {
    const output = await ask(JSON.stringify(experiment), timeout);
    const rates = checkedCalibration(JSON.parse(output.trimEnd().split('\n').at(-1) ?? ''));
    return rates === null ? { ok: false, reason: 'no sensible numbers came out' } : { ok: true, rates };
  } catch (error) {
    return { ok: false, reason: messageOf(error) };
  }
}

function ask(request: string, timeout: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      process.execPath,
      [findTrainer(), '--measure'],
      { env: childEnvironment(), timeout, killSignal: 'SIGKILL', windowsHide: true },
      (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else if (error.killed === true) reject(new Error(`it took longer than ${String(timeout / 1000)} s`));
        else reject(new Error(saidBy(stderr) ?? error.message.split('\n')[0]));
      },
    );
    // A child that has ended before it has read everything says why by its end.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(request);
  });
}

/** The line of a failed child that says what happened. */
function saidBy(stderr: string): string | undefined {
  const line = stderr.split('\n').find((text) => /^\S*error\b.*:/i.test(text));
  return line?.trim().replace(/^error: /, '');
}
