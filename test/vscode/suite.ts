// What the suites share: a server with the packaged extension, copies of the sample, pictures of failures.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Browser } from 'playwright-core';
import { readOwner } from '../../src/runs';
import { livenessOf } from '../../src/runs/process-identity';
import { launchBrowser, VSCodeServer, type ServerOptions } from './server';
import { Window, type WindowOptions } from './window';

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') throw new Error(`${name} is not set: run \`npm run test:vscode\``);
  return value;
}

export class Suite {
  private readonly folders: string[] = [];

  private constructor(
    readonly server: VSCodeServer,
    readonly browser: Browser,
  ) {}

  /** VS Code with the VSIX of this build. */
  static async start(options: Partial<ServerOptions> = {}): Promise<Suite> {
    const browser = await launchBrowser();
    try {
      const server = await VSCodeServer.start({
        server: required('LRQAT_VSCODE'),
        vsix: required('LRQAT_VSIX'),
        ...options,
      });
      return new Suite(server, browser);
    } catch (error) {
      // A browser that is left behind would keep the test file from ending.
      await browser.close();
      throw error;
    }
  }

  async stop(): Promise<void> {
    await this.browser.close();
    await this.server.stop();
    for (const folder of this.folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }

  /** A folder of its own that is removed at the end. */
  folder(): string {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-e2e-'));
    this.folders.push(folder);
    return folder;
  }

  /** A workspace with the sample experiment in so many steps; small and quick unless `full`. In a folder of its own unless `into`
   *  names one. */
  sampleWorkspace(steps: number, { full = false, name = '', into = '' } = {}): string {
    const folder = path.join(into === '' ? this.folder() : into, name);
    cpSync('samples/first-run', folder, { recursive: true, filter: (file) => path.basename(file) !== '.lrqat' });
    // Runs of the workspace stay in it, whatever lies above the temporary folder.
    mkdirSync(path.join(folder, '.lrqat'));
    if (full) return folder;
    const file = path.join(folder, 'w2-rank32.lrqat.json');
    writeFileSync(file, quick(readFileSync(file, 'utf8'), steps));
    return folder;
  }

  async open(options: WindowOptions, server: VSCodeServer = this.server): Promise<Window> {
    const window = await Window.open(this.browser, server, options);
    await window.ready();
    return window;
  }
}

/** The sample's experiment in so many steps that are soon done. */
export function quick(sample: string, steps: number): string {
  return sample
    .replace('"steps": 150', `"steps": ${String(steps)}`)
    .replace('"everySteps": 50, "maxBatches": 16', '"everySteps": 50, "maxBatches": 1')
    .replace('"everySteps": 50, "keep": 2', '"everySteps": 5, "keep": 2')
    .replace('"sequenceLength": 256', '"sequenceLength": 64');
}

/** Ends the trainers of a workspace's runs at once. */
export async function stopRuns(workspace: string): Promise<void> {
  const runsFolder = path.join(workspace, '.lrqat', 'runs');
  const names = existsSync(runsFolder) ? readdirSync(runsFolder) : [];
  for (const name of names) {
    const directory = path.join(runsFolder, name);
    const owner = await readOwner(directory).catch(() => null);
    if (owner === null || livenessOf(owner) !== 'alive') continue;
    process.kill(owner.pid, 'SIGKILL');
    await until(() => livenessOf(owner) === 'dead', `the trainer of ${name} is gone`, 60_000);
  }
}

/** Runs `body`; a failure leaves a picture of the window in build/vscode-failures. */
export async function pictured(
  window: () => Window | undefined,
  name: string,
  body: () => Promise<void>,
): Promise<void> {
  try {
    await body();
  } catch (error) {
    const file = path.join('build', 'vscode-failures', `${name.replace(/[^a-z0-9]+/gi, '-')}.png`);
    mkdirSync(path.dirname(file), { recursive: true });
    await window()
      ?.screenshot(file)
      .catch(() => undefined);
    console.log(`picture of the failure: ${file}`);
    throw error;
  }
}

/** Waits for a condition; `what` says in a failure what did not come true. What cannot be looked at yet (a webview that is just being
 *  replaced, a file that is not there) is not true yet. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what = 'the condition',
  timeout = 60_000,
): Promise<void> {
  let cause: unknown;
  for (const end = Date.now() + timeout; ;) {
    try {
      if (await condition()) return;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${String(timeout / 1000)} s`, { cause });
    await sleep(100);
  }
}

/** Waits until what is read equals what is expected. */
export async function becomes<Value>(read: () => Value | Promise<Value>, expected: Value): Promise<void> {
  let last: unknown;
  const isSo = async (): Promise<boolean> => isDeepStrictEqual((last = await read()), expected);
  await until(isSo, JSON.stringify(expected)).catch((error: unknown) => {
    throw new Error(`expected ${JSON.stringify(expected)}, last was ${JSON.stringify(last)}`, { cause: error });
  });
}
