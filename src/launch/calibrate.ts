// How fast this machine multiplies and copies, measured in a child process: the answer may be a crash, and the threads of the
// library must not stay behind in this one.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { ComputeType, GemmProduct } from '../../native/binding/addon';
import { childEnvironment } from './environment';
import { findNative } from './native-files';

export interface MeasuredRates {
  /** Floating-point operations a second of large matrix products. */
  readonly gemm: number;
  /** Bytes a second, read and written. */
  readonly bytes: number;
}

export interface RateRequest {
  /** Products of the step, [rows, inner] · [inner, columns]. */
  readonly products: readonly Pick<GemmProduct, 'rows' | 'columns' | 'inner'>[];
  readonly compute: ComputeType;
  readonly threads: number;
}

const COPIED = 64 * 1024 * 1024;

const CHILD = `
const [addon, request] = process.argv.slice(1);
const native = require(addon);
const { products, compute, threads, oneDnn, bytes } = JSON.parse(request);
(async () => {
  let flops = 0;
  let seconds = 0;
  for (const product of products) {
    const measured = await native.gemmCeiling({ ...product, transposeB: true, compute, threads, oneDnn });
    flops += 2 * product.rows * product.columns * product.inner;
    seconds += measured.seconds;
  }
  const copy = await native.copyTime({ bytes, threads });
  console.log('\\n' + JSON.stringify({ gemm: flops / seconds, bytes: (2 * bytes) / copy.seconds }));
})();
`;

/** Rates, or why there are none: no native build, a crash, too slow. */
export type RateMeasurement =
  { readonly ok: true; readonly rates: MeasuredRates } | { readonly ok: false; readonly reason: string };

export async function measureRates(request: RateRequest, timeout = 20_000): Promise<RateMeasurement> {
  try {
    const { addon, oneDnn } = findNative();
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['-e', CHILD, addon, JSON.stringify({ ...request, oneDnn, bytes: COPIED })],
      { env: childEnvironment(), timeout, killSignal: 'SIGKILL', windowsHide: true },
    );
    const rates = parseRates(JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? ''));
    return rates === null ? { ok: false, reason: 'no sensible numbers came out' } : { ok: true, rates };
  } catch (error) {
    return { ok: false, reason: failureOf(error, timeout) };
  }
}

/** The line of a failed child that says what happened. */
function failureOf(error: unknown, timeout: number): string {
  if (!(error instanceof Error)) return String(error);
  if ('killed' in error && error.killed === true) return `it took longer than ${String(timeout / 1000)} s`;
  const output = 'stderr' in error && typeof error.stderr === 'string' ? error.stderr : '';
  const said = output.split('\n').find((line) => /^\S*error\b.*:/i.test(line));
  return said?.trim() ?? error.message.split('\n')[0] ?? '';
}

function parseRates(value: unknown): MeasuredRates | null {
  if (typeof value !== 'object' || value === null || !('gemm' in value) || !('bytes' in value)) return null;
  const { gemm, bytes } = value;
  return typeof gemm === 'number' && typeof bytes === 'number' && gemm > 0 && bytes > 0 ? { gemm, bytes } : null;
}
