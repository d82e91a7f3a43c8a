#!/usr/bin/env node
// lrqat: runs one command and ends with its exit code.
import { CommanderError } from 'commander';
import { UserError } from '../errors';
import type { Context } from './context';
import { EXIT, exitCodeFor } from './exit-codes';
import { buildProgram } from './program';
import { terminalFor, type Terminal } from './terminal';

async function main(): Promise<number> {
  leaveWhenOutputFails(process.stdout);
  leaveWhenOutputFails(process.stderr);
  const messages = terminalFor(process.stderr);
  const context: Context = {
    output: terminalFor(process.stdout),
    messages,
    stream: process.stdout,
    folder: process.cwd(),
    command: ['lrqat', ...process.argv.slice(2)],
  };
  let code: number = EXIT.ok;
  const program = buildProgram(context, (result) => {
    code = result;
  });
  if (process.argv.length <= 2) {
    program.outputHelp();
    return EXIT.badInput;
  }
  try {
    await program.parseAsync();
    return code;
  } catch (error) {
    return report(error, messages);
  }
}

function report(error: unknown, messages: Terminal): number {
  // Commander has printed its own; exitCode 0 is --help and --version.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.badInput;
  const label = messages.paint('red', 'error:');
  if (error instanceof UserError) {
    messages.line(`${label} ${error.message}`);
    if (error.hint !== undefined && error.hint !== '') messages.line(`hint: ${error.hint}`);
    return exitCodeFor(error.code);
  }
  // The system's own errors speak for themselves; anything else is a defect and its stack the report.
  const isSystem = error instanceof Error && 'syscall' in error;
  messages.line(
    `${label} ${error instanceof Error ? (isSystem ? error.message : (error.stack ?? error.message)) : String(error)}`,
  );
  return EXIT.failed;
}

/** Quietly where nobody reads any more (`| head`). */
function leaveWhenOutputFails(stream: NodeJS.WriteStream): void {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.brokenPipe);
    // A full disk, a network file system that has gone: once, because the other stream may be the same file.
    if (stream === process.stdout) {
      process.stderr.write(`error: the output cannot be written (${error.message})\n`, () => process.exit(EXIT.failed));
    } else {
      process.exit(EXIT.failed);
    }
  });
}

/** Waits for what is still buffered: process.exit would cut off the end of a long output into a pipe. */
async function flushed(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength === 0) return;
  await new Promise<void>((resolve) => stream.write('', () => resolve()));
}

// An ended command must not be kept alive by what it has started (a trainer's exit listener, a watcher).
void main().then(async (code) => {
  await flushed(process.stdout);
  await flushed(process.stderr);
  process.exit(code);
});
