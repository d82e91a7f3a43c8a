// `lrqat … --json` in the background: its lines as they come, its last words when it fails.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { CancellationToken } from 'vscode';
import { UserError } from '../../errors';
import type { Services } from '../services';
import { cliCommand } from '../tasks';

/** Hears every line that is a JSON object. Cancelling sends what Ctrl-C would.
 *  @returns false when it was cancelled
 *  @throws UserError CommandFailed with what the command said */
export async function cliLines(
  args: readonly string[],
  hear: (line: Readonly<Record<string, unknown>>) => void,
  token: CancellationToken,
  services: Services,
): Promise<boolean> {
  const { program, args: all, env } = cliCommand(args, services);
  const child = spawn(program, all, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const subscription = token.onCancellationRequested(() => child.kill('SIGINT'));
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000);
  });
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    const value = parsed(line);
    if (value !== null) hear(value);
  });
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    if (token.isCancellationRequested) return false;
    if (code === 0) return true;
    throw new UserError('CommandFailed', said.trim().replace(/^error: /, '') || `lrqat ended with ${String(code)}`);
  } finally {
    subscription.dispose();
  }
}

function parsed(line: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : null;
  } catch {
    return null;
  }
}
