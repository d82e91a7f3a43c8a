// Is the native build usable? Asked in a child process, because the answer may be a crash (an instruction this CPU does not have, a
// library of another age).
import { execFile } from 'node:child_process';
import type { CpuInfo, LrqatAddon } from '../../native/binding/addon';
import { version } from '../../package.json';
import { messageOf, UserError } from '../errors';
import { findCublasLt } from './cublaslt';
import { childEnvironment } from './environment';
import type { CudaProbe } from './gpu';
import { UNLOADABLE_HINT } from './load-addon';
import { findNative, type NativeFiles } from './native-files';

export type NativeProbe =
  | {
      readonly ok: true;
      readonly files: NativeFiles;
      readonly engineVersion: string;
      readonly cpu: CpuInfo;
      readonly cuda: CudaProbe;
    }
  | { readonly ok: false; readonly files: NativeFiles | null; readonly reason: string; readonly hint: string };

export interface ProbeOptions {
  readonly nodePath?: string;
  readonly environment?: NodeJS.ProcessEnv;
  /** Milliseconds; default 30 s: the first load from a cold disk. */
  readonly timeout?: number;
}

/** What the child runs; its last line is the answer, whatever libraries print before. */
const CHILD = `
const [addon, oneDnn, cuda] = process.argv.slice(1);
const native = require(addon);
const gpus = () => {
  if (!cuda) return { info: null, problem: null };
  try {
    return { info: native.cudaInfo(cuda), problem: null };
  } catch (error) {
    return { info: null, problem: error.message, hint: error.hint };
  }
};
console.log('\\n' + JSON.stringify({ engineVersion: native.engineVersion, cpu: native.cpuInfo(oneDnn || null), gpus: gpus() }));
`;

/** The same about GPUs in this process, for one that has the addon loaded anyway. */
export function askCuda(addon: Pick<LrqatAddon, 'cudaInfo'>, files: NativeFiles): CudaProbe {
  if (files.cuda === null) return cudaProbe(files, { info: null, problem: null });
  try {
    return cudaProbe(files, { info: addon.cudaInfo(files.cuda), problem: null });
  } catch (error) {
    return cudaProbe(files, { info: null, problem: messageOf(error), ...hintOf(error) });
  }
}

function hintOf(error: unknown): { readonly hint?: string } {
  return error instanceof Error && 'hint' in error && typeof error.hint === 'string' ? { hint: error.hint } : {};
}

function cudaProbe(
  { cuda }: NativeFiles,
  gpus: Pick<CudaProbe, 'info' | 'problem' | 'hint'>,
  environment = process.env,
): CudaProbe {
  const { file, searched } = findCublasLt({ environment });
  return { library: cuda, ...gpus, cublasLt: file, searched };
}

export async function probeNative(options: ProbeOptions = {}): Promise<NativeProbe> {
  const environment = options.environment ?? process.env;
  let files: NativeFiles;
  try {
    files = findNative(environment);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { ok: false, files: null, reason: error.message, hint: error.hint ?? '' };
  }
  const answer = await ask(files, options, environment);
  if ('reason' in answer) return { ok: false, files, reason: answer.reason, hint: UNLOADABLE_HINT };
  if (answer.engineVersion !== version) {
    const reason = `${files.addon} is of version ${answer.engineVersion}, this program is ${version}`;
    return { ok: false, files, reason, hint: 'Build it again with: npm run setup' };
  }
  const { engineVersion, cpu, gpus } = answer;
  return { ok: true, files, engineVersion, cpu, cuda: cudaProbe(files, gpus, environment) };
}

type Answer =
  | {
      readonly engineVersion: string;
      readonly cpu: CpuInfo;
      readonly gpus: Pick<CudaProbe, 'info' | 'problem' | 'hint'>;
    }
  | { readonly reason: string };

function ask(files: NativeFiles, options: ProbeOptions, environment: NodeJS.ProcessEnv): Promise<Answer> {
  const timeout = options.timeout ?? 30_000;
  return new Promise((resolve) => {
    execFile(
      options.nodePath ?? process.execPath,
      ['-e', CHILD, files.addon, files.oneDnn ?? '', files.cuda ?? ''],
      { env: childEnvironment(environment), timeout, killSignal: 'SIGKILL', windowsHide: true, maxBuffer: 1 << 20 },
      (error, stdout, stderr) => {
        resolve(error === null ? parseAnswer(stdout) : { reason: describe(error, stderr, timeout) });
      },
    );
  });
}

function parseAnswer(stdout: string): Answer {
  try {
    const value = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Answer;
    if ('engineVersion' in value && typeof value.engineVersion === 'string') return value;
  } catch (error) {
    return { reason: `the engine's answer could not be read (${messageOf(error)})` };
  }
  return { reason: 'the engine gave no version' };
}

function describe(
  error: Error & { killed?: boolean; signal?: NodeJS.Signals | null },
  stderr: string,
  timeout: number,
): string {
  if (error.killed === true) return `loading the engine took longer than ${String(timeout / 1000)} s`;
  if (error.signal === 'SIGILL') return 'the engine uses an instruction that this CPU does not have';
  if (error.signal !== undefined && error.signal !== null)
    return `loading the engine ended the process with ${error.signal}`;
  // Node prints the stack after the message; the message is the line with the error's name.
  const line = stderr.split('\n').find((text) => /^\w*Error: /.test(text));
  return line ?? error.message.split('\n')[0] ?? 'unknown';
}
