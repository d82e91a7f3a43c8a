// Work that a command does in its own process, such as a measurement or an export: one redrawn line says how far it is, and
// Ctrl-C or SIGTERM end it.
import type { Context } from './context';
import { EXIT } from './exit-codes';
import { progressLine, type ProgressLine } from './progress-line';

export interface WorkTools {
  /** Aborts with the first signal; the work then ends after its micro-batch and leaves nothing half-written. */
  readonly signal: AbortSignal;
  readonly progress: ProgressLine;
}

/** The first signal lets the work end in order, a second one ends the process at once.
 *  @returns the exit code: 0, or that of the signal */
export async function workHere(context: Context, work: (tools: WorkTools) => Promise<void>): Promise<number> {
  const interrupt = new AbortController();
  const progress = progressLine(context.messages, process.stderr);
  let code: number = EXIT.ok;
  const end = (signalCode: number): void => {
    if (interrupt.signal.aborted) {
      progress.close();
      process.exit(code);
    }
    code = signalCode;
    interrupt.abort();
  };
  const onInterrupt = (): void => end(EXIT.interrupted);
  const onTerminate = (): void => end(EXIT.terminated);
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onTerminate);
  try {
    await work({ signal: interrupt.signal, progress });
    return EXIT.ok;
  } catch (error) {
    if (interrupt.signal.aborted) return code;
    throw error;
  } finally {
    progress.close();
    process.off('SIGINT', onInterrupt);
    process.off('SIGTERM', onTerminate);
  }
}
