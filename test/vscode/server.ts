// Starts VS Code's web server with an extension installed, and a browser to look at it with.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { chromium, type Browser } from 'playwright-core';

/** Nothing of VS Code's own may pop up or phone home. */
const QUIET: Readonly<Record<string, unknown>> = {
  'workbench.startupEditor': 'none',
  'workbench.tips.enabled': false,
  'workbench.enableExperiments': false,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'chat.disableAIFeatures': true,
  'chat.commandCenter.enabled': false,
  'security.workspace.trust.enabled': false,
  'telemetry.telemetryLevel': 'off',
  'update.mode': 'none',
  'extensions.autoUpdate': false,
  'extensions.autoCheckUpdates': false,
  'extensions.ignoreRecommendations': true,
  'git.enabled': false,
  'window.menuBarVisibility': 'classic',
  'workbench.colorTheme': 'Default Dark Modern',
  // Nothing moves by itself: every frame is drawn by a processor.
  'workbench.reduceMotion': 'on',
  'editor.cursorBlinking': 'solid',
};

export interface ServerOptions {
  /** What scripts/vscode-server.mjs prints. */
  readonly server: string;
  /** Installed before the server starts. */
  readonly vsix?: string;
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly environment?: NodeJS.ProcessEnv;
  /** A program with arguments that starts the server given as further arguments, in surroundings of its own. */
  readonly within?: readonly string[];
}

export class VSCodeServer {
  private constructor(
    readonly port: number,
    /** Folder of all the server writes. */
    readonly folder: string,
    private readonly child: ChildProcess,
    private readonly output: () => string,
  ) {}

  static async start({ server, vsix, settings, environment, within = [] }: ServerOptions): Promise<VSCodeServer> {
    // Short: sockets lie below it, and their paths are limited to a hundred characters.
    const folder = mkdtempSync(path.join(os.tmpdir(), 'vsc-'));
    const [data, extensions] = [path.join(folder, 'd'), path.join(folder, 'x')];
    const user = path.join(data, 'data', 'User');
    mkdirSync(user, { recursive: true });
    mkdirSync(extensions);
    writeFileSync(path.join(user, 'settings.json'), JSON.stringify({ ...QUIET, ...settings }));
    const common = ['--accept-server-license-terms', '--server-data-dir', data, '--extensions-dir', extensions];
    if (vsix !== undefined) {
      const installed = spawnSync(server, [...common, '--install-extension', vsix, '--force'], { encoding: 'utf8' });
      if (installed.status !== 0)
        throw new Error(`the extension could not be installed:\n${installed.stdout}${installed.stderr}`);
    }
    const trusting = settings?.['security.workspace.trust.enabled'] === true ? [] : ['--disable-workspace-trust'];
    const args = [...common, '--host', '127.0.0.1', '--port', '0', '--without-connection-token', ...trusting];
    const [first, ...before] = within;
    const command = [...args, '--telemetry-level', 'off'];
    const child = spawn(first ?? server, first === undefined ? command : [...before, server, ...command], {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, EXTENSIONS_GALLERY: '{"serviceUrl":""}', ...environment },
    });
    let log = '';
    const port = await new Promise<number>((resolve, reject) => {
      const read = (data: Buffer): void => {
        log += data.toString();
        const found = /Extension host agent listening on (\d+)/.exec(log)?.[1];
        if (found !== undefined) resolve(Number(found));
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      child.once('exit', (code) => reject(new Error(`the server ended with ${String(code)}\n${log}`)));
      setTimeout(() => reject(new Error(`the server names no port\n${log}`)), 120_000).unref();
    });
    return new VSCodeServer(port, folder, child, () => log);
  }

  get address(): string {
    return `http://localhost:${String(this.port)}`;
  }

  get log(): string {
    return this.output();
  }

  async stop(): Promise<void> {
    const { child } = this;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    this.signal('SIGTERM');
    await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, 3_000))]);
    this.signal('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }

  private signal(signal: NodeJS.Signals): void {
    try {
      if (this.child.pid !== undefined) process.kill(-this.child.pid, signal);
    } catch {
      // Gone already.
    }
  }
}

export function launchBrowser(executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium'): Promise<Browser> {
  const args = ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic', '--no-first-run'];
  const offline = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];
  return chromium.launch({ executablePath, headless: true, args: [...args, ...offline] });
}
