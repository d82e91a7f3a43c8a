// Ctrl-C during `train` and `resume`: once stops the run and saves it, twice stops it at once, a third time leaves.
import { sendControl, stopNow } from '../runs';
import { EXIT } from './exit-codes';
import type { RunView } from './views';

export interface Interrupts {
  readonly count: () => number;
  /** Resolves once what was asked for is done: a killed trainer's end is recorded. */
  settled(): Promise<void>;
  dispose(): void;
}

/** @param foreground the trainer is this very process. */
export function stopOnInterrupt(runDirectory: string, view: RunView, foreground: boolean): Interrupts {
  let count = 0;
  let asked: Promise<void> = Promise.resolve();
  const report = (error: unknown): void => view.note(`cannot stop the run: ${String(error)}`);
  const onInterrupt = (): void => {
    count += 1;
    if (count === 1) {
      view.note('stopping: the run is saved first … (Ctrl-C again stops at once, without saving)');
      sendControl(runDirectory, 'stop').catch(report);
    } else if (count === 2) {
      view.note('stopping at once …');
      asked = stopNow(runDirectory, foreground ? () => process.exit(EXIT.interrupted) : undefined).catch(report);
    } else {
      view.close();
      process.exit(EXIT.interrupted);
    }
  };
  process.on('SIGINT', onInterrupt);
  return { count: () => count, settled: () => asked, dispose: () => void process.off('SIGINT', onInterrupt) };
}
