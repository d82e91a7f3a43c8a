// A page that embeds the real bundle as VS Code does (same HTML, same policy, the variables of a real theme), with an
// acquireVsCodeApi that the test plays: what the panel posts is collected, what the test sends arrives as a message.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium, type Browser, type Page } from 'playwright-core';
import { panelHtml } from '../../../webview/shared/page';
import type { PanelState, RunDelta, RunInfo } from '../../../webview/charts/protocol';
import type { Message } from '../../../webview/shared/messages';

export type ThemeName = 'dark' | 'light' | 'high-contrast';

interface ThemeFile {
  readonly bodyClass: string;
  readonly variables: Readonly<Record<string, string>>;
}

/** The variables that VS Code 1.100 sets for its default themes. */
export function themeOf(name: ThemeName): ThemeFile {
  return JSON.parse(readFileSync(path.join('test/webview/browser/themes', `${name}.json`), 'utf8')) as ThemeFile;
}

/** Debian's Chromium, or what CHROMIUM names; null where there is none. */
export async function launchBrowser(): Promise<Browser | null> {
  const named = process.env['CHROMIUM'];
  const candidates = [named, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
  for (const executablePath of candidates) {
    if (executablePath === undefined) continue;
    try {
      return await chromium.launch({
        executablePath,
        args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run'],
      });
    } catch (error) {
      if (executablePath === named) throw error;
    }
  }
  return null;
}

/** Waits until what `check` asserts is so, and fails with what it last had against it. A page draws when its machine comes to it:
 *  whatever follows from an action is read through this. */
export async function eventually<Result>(check: () => Promise<Result>, timeout = 60_000): Promise<Result> {
  for (const end = Date.now() + timeout; ;) {
    try {
      return await check();
    } catch (error) {
      if (!(error instanceof assert.AssertionError) || Date.now() > end) throw error;
    }
    await sleep(30);
  }
}

/** Waits until what is read equals what is expected. */
export function becomes<Value>(read: () => Promise<Value>, expected: Value, message?: string): Promise<void> {
  return eventually(async () => assert.deepEqual(await read(), expected, message));
}

/** Waits until a text is as expected. */
export function says(read: () => Promise<string>, expected: RegExp, message?: string): Promise<void> {
  return eventually(async () => assert.match(await read(), expected, message));
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** What axe-core finds wrong with a page. */
export async function axeViolations(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { axe: checker } = window as unknown as {
      axe: { run: () => Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }> };
    };
    const { violations } = await checker.run();
    return violations.map(
      ({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join('\n')}`,
    );
  });
}

/** Waits until axe-core finds nothing: colours on their way from one theme to the next are no fault. */
export function isAccessible(page: Page, message?: string): Promise<void> {
  return eventually(async () => assert.deepEqual(await axeViolations(page), [], message));
}

const NONCE = 'nonceForTests';

/** Serves the page and the bundle of a panel. */
export async function serve(panel = 'charts'): Promise<{ readonly url: string; readonly server: Server }> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    if (pathname === '/') {
      response.setHeader('content-type', 'text/html; charset=utf-8');
      response.end(
        panelHtml({
          script: `/${panel}.js`,
          style: `/${panel}.css`,
          cspSource: "'self'",
          nonce: NONCE,
          language: 'en',
          title: panel,
          translations: {},
        }),
      );
      return;
    }
    if (pathname === '/favicon.ico') {
      response.statusCode = 204;
      response.end();
      return;
    }
    const extension = ['js', 'css'].find((end) => pathname === `/${panel}.${end}`);
    if (extension === undefined) {
      response.statusCode = 404;
      response.end();
      return;
    }
    response.setHeader('content-type', extension === 'js' ? 'text/javascript' : 'text/css');
    response.end(readFileSync(path.join('dist/webview', pathname)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${String(port)}/`, server };
}

/** What crosses into the page: buffers as base64, because a page's functions take JSON only. */
interface Plain {
  readonly method: string;
  readonly params: unknown;
}

/** A chart as its data attributes tell it. */
export interface ChartFacts {
  readonly points: number;
  readonly drawn: number;
  readonly lastStep: number;
  readonly yMin: number;
  readonly yMax: number;
}

/** Any panel's page. */
export class PanelPage {
  /** Messages of the content security policy and errors of the page: none are expected. */
  readonly problems: string[] = [];

  protected constructor(readonly page: Page) {
    page.on('pageerror', (error) => this.problems.push(error.message));
    page.on('console', (message) => {
      // Chromium's advice about our reading of pixels in tests.
      if (message.text().includes('willReadFrequently')) return;
      if (message.type() === 'error' || message.type() === 'warning') this.problems.push(message.text());
    });
  }

  protected static async newPage(
    browser: Browser,
    { theme = 'dark', state = null, width = 1200, height = 900 }: OpenOptions,
  ): Promise<Page> {
    const context = await browser.newContext({ viewport: { width, height } });
    const page = await context.newPage();
    await page.addInitScript(hostScript, { state, theme: themeOf(theme) });
    return page;
  }

  /** @param ready method of the message that the page sends when it runs */
  protected async load(url: string, ready: string): Promise<void> {
    await this.page.goto(url);
    await this.page.waitForFunction((method) => window.posted.some((message) => message.method === method), ready);
  }

  async send(messages: Iterable<Message>): Promise<void> {
    for (const { method, params } of messages) {
      await this.page.evaluate((message) => window.deliver(message), encoded({ method, params }));
    }
    await this.frame();
  }

  /** Waits until what was sent is drawn. */
  async frame(): Promise<void> {
    await this.page.evaluate(async () => {
      const next = () => new Promise((resolve) => requestAnimationFrame(resolve));
      await next();
      await next();
      // A slow machine spreads over several frames what a quick one draws in one.
      while (document.querySelector('[data-busy="true"]') !== null) await next();
    });
  }

  /** Messages that the panel has posted, of one method. */
  posted<Params>(method: string): Promise<Params[]> {
    return this.page.evaluate(
      (wanted) => window.posted.filter((each) => each.method === wanted).map((each) => each.params),
      method,
    ) as Promise<Params[]>;
  }

  async setTheme(name: ThemeName): Promise<void> {
    await this.page.evaluate((theme) => window.applyTheme(theme), themeOf(name));
    await this.frame();
  }

  async close(): Promise<void> {
    await this.page.context().close();
  }
}

export class ChartsPage extends PanelPage {
  static async open(browser: Browser, url: string, options: OpenOptions<PanelState> = {}): Promise<ChartsPage> {
    const opened = new ChartsPage(await PanelPage.newPage(browser, options));
    await opened.load(url, 'charts/ready');
    return opened;
  }

  state(): Promise<PanelState> {
    return this.page.evaluate(() => window.storedState) as Promise<PanelState>;
  }

  card(id: string) {
    return this.page.locator(`[data-chart="${id}"]`);
  }

  async facts(id: string): Promise<ChartFacts> {
    const card = this.card(id);
    const number = async (name: string) => Number(await card.getAttribute(`data-${name}`));
    return {
      points: await number('points'),
      drawn: await number('drawn'),
      lastStep: await number('last-step'),
      yMin: await number('y-min'),
      yMax: await number('y-max'),
    };
  }

  async panel(name: string): Promise<string> {
    return (await this.page.locator('#panel').getAttribute(`data-${name}`)) ?? '';
  }

  /** Share of the columns of a chart's pixels that hold a colour near to `colour` (#rrggbb), and the highest such pixel as a
   *  share of the height from below. */
  async pixels(id: string, colour: string): Promise<{ readonly columns: number; readonly top: number }> {
    return this.card(id)
      .locator('.plot-canvas canvas')
      .evaluate((element, wanted) => {
        const canvas = element as HTMLCanvasElement;
        const { width, height } = canvas;
        const data = canvas.getContext('2d')?.getImageData(0, 0, width, height).data ?? new Uint8ClampedArray(0);
        const rgb = [1, 3, 5].map((at) => parseInt(wanted.slice(at, at + 2), 16));
        const columns = new Set<number>();
        let top = height;
        for (let y = 0; y < height; y++) {
          for (let x = 0; x < width; x++) {
            const at = 4 * (y * width + x);
            if (rgb.some((part, index) => Math.abs((data[at + index] ?? 0) - part) > 40)) continue;
            if ((data[at + 3] ?? 0) < 150) continue;
            columns.add(x);
            top = Math.min(top, y);
          }
        }
        return { columns: columns.size / width, top: 1 - top / height };
      }, colour);
  }
}

export interface OpenOptions<State = unknown> {
  readonly theme?: ThemeName;
  /** What the page has kept over a reload. */
  readonly state?: State | null;
  readonly width?: number;
  readonly height?: number;
}

declare global {
  interface Window {
    posted: { method: string; params: unknown }[];
    storedState: unknown;
    deliver: (message: Plain) => void;
    applyTheme: (theme: ThemeFile) => void;
  }
}

function encoded(value: unknown): Plain {
  return JSON.parse(
    JSON.stringify(value, (_key, item: unknown) =>
      item instanceof ArrayBuffer ? { base64: Buffer.from(item).toString('base64') } : item,
    ),
  ) as Plain;
}

/** Runs in the page, before everything else. */
function hostScript({ state, theme }: { state: unknown; theme: ThemeFile }): void {
  window.posted = [];
  window.storedState = state;
  const revived = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null) return value;
    if (Array.isArray(value)) return value.map(revived);
    if ('base64' in value && typeof value.base64 === 'string') {
      return Uint8Array.from(atob(value.base64), (letter) => letter.charCodeAt(0)).buffer;
    }
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, revived(item)]));
  };
  window.deliver = (message) => {
    window.dispatchEvent(new MessageEvent('message', { data: revived(message) }));
  };
  window.applyTheme = ({ bodyClass, variables }) => {
    // A theme need not have every colour; what the one before had is gone.
    document.documentElement.removeAttribute('style');
    for (const [name, value] of Object.entries(variables)) document.documentElement.style.setProperty(name, value);
    document.body.className = bodyClass;
  };
  Object.assign(window, {
    acquireVsCodeApi: () => ({
      postMessage: (message: { method: string; params: unknown }) => window.posted.push(message),
      getState: () => window.storedState,
      setState: (value: unknown) => (window.storedState = value),
    }),
  });
  // Scripts of the test run before there is an element.
  const dress = () => {
    if (document.querySelector('body') === null) return false;
    window.applyTheme(theme);
    return true;
  };
  if (!dress()) {
    new MutationObserver((_records, observer) => {
      if (dress()) observer.disconnect();
    }).observe(document, { childList: true, subtree: true });
  }
  document.addEventListener('securitypolicyviolation', (event) => {
    console.error(`policy: ${event.violatedDirective} blocks ${event.blockedURI} (${event.sourceFile})`);
  });
}

/** A run as the host describes it. */
export function runInfo(changes: Partial<RunInfo> & Pick<RunInfo, 'id'>): RunInfo {
  return {
    name: changes.id,
    experiment: changes.id,
    state: 'running',
    phase: null,
    progress: null,
    step: 0,
    totalSteps: 150,
    etaSeconds: null,
    device: 'CPU · AVX2 · 2 threads',
    setting: 'LR-QAT · W2 · rank 32',
    attempt: 1,
    created: 0,
    started: 0,
    ended: null,
    heartbeat: 0,
    best: null,
    lastCheckpoint: null,
    error: null,
    problem: null,
    loading: null,
    pending: null,
    ...changes,
  };
}

export type { RunDelta };
