// What the exit status of lrqat says; printed by --help and documented in docs/cli.md.

export const EXIT = {
  ok: 0,
  /** The run failed or crashed, or lrqat itself did. */
  failed: 1,
  /** A problem with the command line, the experiment or another input. */
  badInput: 2,
  /** The run was stopped before its last step, by somebody else than this command. */
  stopped: 3,
  /** This machine lacks something: the engine cannot be loaded, no memory, no disk. */
  machine: 4,
  /** Ctrl-C. The run was stopped and can be resumed. */
  interrupted: 130,
  /** Whoever read the output has gone (`| head`). A detached run goes on. */
  brokenPipe: 141,
  /** SIGTERM. A detached run goes on. */
  terminated: 143,
} as const;

export const EXIT_CODE_HELP = `Exit codes:
  0    done; for a run: finished
  1    the run failed or crashed, or lrqat itself failed
  2    a problem with the command line, the experiment or another input
  3    the run was stopped before its last step
  4    this machine lacks something (lrqat doctor says what)
  130  interrupted by Ctrl-C; the run was stopped and can be resumed
  141  whoever read the output has gone; a detached run goes on
  143  ended by SIGTERM; a detached run goes on
`;

/** Codes of errors that the machine is to blame for rather than the input. */
const MACHINE_CODES: ReadonlySet<string> = new Set([
  'NativeMissing',
  'NativeUnloadable',
  'NativeMismatch',
  'TrainerMissing',
  'TrainerNotStarted',
  'OutOfMemory',
  'DiskFull',
  'RunsFolder',
]);

export function exitCodeFor(code: string): number {
  return MACHINE_CODES.has(code) ? EXIT.machine : EXIT.badInput;
}
