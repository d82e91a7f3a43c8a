// One redrawn line for work that can be counted; nothing where lines cannot be redrawn.
import { SingleBar } from 'cli-progress';
import type { Terminal } from './terminal';

export interface ProgressLine {
  show(phase: string, done: number, total: number): void;
  close(): void;
}

export function progressLine(terminal: Terminal, stream: NodeJS.WriteStream): ProgressLine {
  if (!terminal.interactive) return { show: () => undefined, close: () => undefined };
  const bar = new SingleBar({
    stream,
    format: '{bar}  {percentage} %  {phase}',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 24,
    fps: 8,
    hideCursor: true,
    clearOnComplete: true,
    linewrap: false,
    gracefulExit: false,
  });
  let started = false;
  return {
    show: (phase, done, total) => {
      if (!started) bar.start(Math.max(1, total), done, { phase });
      started = true;
      bar.setTotal(Math.max(1, total));
      bar.update(done, { phase });
    },
    close: () => {
      if (started) bar.stop();
      started = false;
    },
  };
}
