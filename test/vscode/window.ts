// A VS Code window in a browser page, with the few things a user does in it.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, Frame, Locator, Page } from 'playwright-core';
import type { VSCodeServer } from './server';

export interface WindowOptions {
  readonly folder: string;
  /** An extension folder to load instead of the installed one, and its mocha bundle. */
  readonly development?: string;
  readonly tests?: string;
  readonly size?: { readonly width: number; readonly height: number };
  readonly scale?: number;
}

export class Window {
  private constructor(
    readonly page: Page,
    /** Exit code of the extension-host tests. */
    readonly exited: Promise<number>,
  ) {}

  static async open(browser: Browser, server: VSCodeServer, options: WindowOptions): Promise<Window> {
    const context = await browser.newContext({
      viewport: options.size ?? { width: 1400, height: 900 },
      deviceScaleFactor: options.scale ?? 1,
    });
    // Generous: a busy machine is no failure.
    context.setDefaultTimeout(60_000);
    // A server that has just started reads all of VS Code for its first page.
    context.setDefaultNavigationTimeout(180_000);
    const page = await context.newPage();
    const remote = (folder: string): string => `vscode-remote://localhost:${String(server.port)}${folder}`;
    const payload: [string, string][] = [];
    if (options.development !== undefined) payload.push(['extensionDevelopmentPath', remote(options.development)]);
    if (options.tests !== undefined) payload.push(['extensionTestsPath', remote(options.tests)]);
    let onExit: (code: number) => void = () => undefined;
    const exited = new Promise<number>((resolve) => (onExit = resolve));
    if (payload.length > 0) {
      await page.exposeFunction('codeAutomationExit', onExit);
      await page.exposeFunction('codeAutomationLog', (_type: string, args: unknown[]) => console.log(...args));
      await page.addInitScript(USE_SMOKE_TEST_DRIVER);
    }
    const query = payload.length === 0 ? '' : `&payload=${encodeURIComponent(JSON.stringify(payload))}`;
    await page.goto(`${server.address}/?folder=${options.folder}${query}`, { waitUntil: 'domcontentloaded' });
    return new Window(page, exited);
  }

  /** The workbench is there and the extension's icon in the activity bar. */
  async ready(): Promise<void> {
    await this.page.locator('.explorer-viewlet .monaco-list-row').first().waitFor({ timeout: 120_000 });
    await this.activityIcon('LR-QAT').waitFor({ timeout: 120_000 });
  }

  async close(): Promise<void> {
    await this.page.context().close();
  }

  async reload(): Promise<void> {
    await this.page.reload({ waitUntil: 'domcontentloaded' });
  }

  /** Runs a command by its title in the palette (`LR-QAT: Start Training`). */
  async command(title: string): Promise<void> {
    const { page } = this;
    const box = page.locator('.quick-input-widget');
    const input = box.locator('input[type=text]');
    const row = box.locator('.monaco-list-row', { has: page.getByText(title, { exact: true }) }).first();
    for (let attempt = 1; ; attempt++) {
      // A late change of focus may swallow the first key press, or close the palette that is open already.
      await page.keyboard.press('F1');
      try {
        await input.waitFor({ state: 'visible', timeout: 3_000 });
        await input.fill(`>${title}`, { timeout: 3_000 });
        await row.click({ timeout: 20_000 });
        break;
      } catch (error) {
        if (attempt === 8) throw error;
        await page.keyboard.press('Escape');
      }
    }
    await sleep(50);
  }

  async closeEditors(): Promise<void> {
    await this.command('View: Close All Editors');
    await this.page.locator('.tab').first().waitFor({ state: 'detached' });
  }

  private activityIcon(label: string): Locator {
    return this.page.locator(`.activitybar a.action-label[aria-label^="${label}"]`);
  }

  /** Shows a view container. */
  async activity(label: string): Promise<void> {
    const icon = this.activityIcon(label);
    const isShown = await icon.locator('xpath=ancestor::li[contains(@class,"checked")]').count();
    // A badge may lie over the icon's middle; a click on it is meant for the icon as well.
    if (isShown === 0) await icon.click({ force: true });
  }

  /** Rows of the side bar's trees. */
  tree(text?: string | RegExp): Locator {
    return this.page.locator('.sidebar .monaco-list-row', text === undefined ? {} : { hasText: text });
  }

  toast(text: string | RegExp): Locator {
    return this.page.locator('.notifications-toasts .notification-list-item', { hasText: text });
  }

  dialog(): Locator {
    return this.page.locator('.monaco-dialog-box');
  }

  problem(text: string): Locator {
    return this.page.locator('.markers-panel .monaco-list-row', { hasText: text });
  }

  status(text: string | RegExp): Locator {
    return this.page.locator('.statusbar-item', { hasText: text });
  }

  quickPick(): Locator {
    return this.page.locator('.quick-input-widget');
  }

  /** Types into the input box that is open, and accepts. Enter is pressed again where it came before the text was checked. */
  async answer(text: string): Promise<void> {
    const input = this.quickPick().locator('input[type=text]');
    await input.waitFor();
    await input.fill(text);
    for (let attempt = 1; ; attempt++) {
      await input.press('Enter');
      try {
        await this.quickPick().waitFor({ state: 'hidden', timeout: 10_000 });
        return;
      } catch (error) {
        if (attempt === 6) throw error;
      }
    }
  }

  /** Picks the row with the text from the list that is open. A list ignores what comes in the moment it opens: until the row is
   *  gone it is clicked again. */
  async pick(text: string | RegExp): Promise<void> {
    const row = this.quickPick().locator('.monaco-list-row', { hasText: text }).first();
    await row.waitFor();
    await sleep(300);
    for (let attempt = 1; ; attempt++) {
      // It may go while we aim at it.
      await row.click({ timeout: 10_000 }).catch(() => undefined);
      try {
        await row.waitFor({ state: 'hidden', timeout: 10_000 });
        return;
      } catch (error) {
        if (attempt === 6) throw error;
      }
    }
  }

  /** Types a path into VS Code's own file dialog, and confirms. */
  async choosePath(file: string): Promise<void> {
    const box = this.quickPick();
    const input = box.locator('input[type=text]');
    const confirm = box.locator('.quick-input-action .monaco-button, .monaco-text-button').first();
    await confirm.waitFor();
    // The dialog writes the path that it starts with a moment after it has opened.
    for (const end = Date.now() + 60_000; (await input.inputValue()) !== file && Date.now() < end;) {
      if ((await input.inputValue()).includes('/')) await input.fill(file);
      await sleep(500);
    }
    await confirm.click();
    // The box itself may go on with the next question.
    await confirm.waitFor({ state: 'hidden' });
  }

  /** Ticks every entry of a list of so many, and OK. */
  async pickAll(count: number): Promise<void> {
    const rows = this.quickPick().locator('.monaco-list-row');
    await rows.nth(count - 1).waitFor({ timeout: 60_000 });
    const chosen = (number: number): Locator =>
      this.quickPick().getByText(`${String(number)} Selected`, { exact: true });
    for (let index = 0; index < count; index++) {
      for (let attempt = 1; ; attempt++) {
        await rows.nth(index).click();
        try {
          await chosen(index + 1).waitFor({ timeout: 10_000 });
          break;
        } catch (error) {
          // A list ignores what comes in the moment it opens.
          if (attempt === 5 || !(await chosen(index).isVisible())) throw error;
        }
      }
    }
    await this.quickPick().getByText('OK', { exact: true }).click();
  }

  /** Chooses from the menu that is open. Menus ignore what comes in the moment they open. */
  async choose(entry: string | RegExp): Promise<void> {
    const item = this.page.locator('.monaco-menu .action-label', { hasText: entry }).first();
    await item.hover();
    await sleep(300);
    await item.click();
  }

  /** Selects rows of a tree, and no others. A tree that is just being redrawn may lose a click. */
  async select(first: Locator, ...more: readonly Locator[]): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      await first.click();
      for (const row of more) await row.click({ modifiers: ['ControlOrMeta'] });
      await sleep(200);
      const selected = await Promise.all([first, ...more].map((row) => row.getAttribute('aria-selected')));
      if (selected.every((value) => value === 'true')) return;
      if (attempt === 10) throw new Error('rows cannot be selected');
    }
  }

  /** Chooses from a row's context menu. A tree that is just being redrawn may lose the click, on the row or on the menu.
   *  @param shown what must be there afterwards */
  async menuOf(row: Locator, entry: RegExp, shown?: Locator): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await row.click({ button: 'right', timeout: 10_000 });
        await this.page.locator('.monaco-menu .action-label', { hasText: entry }).first().waitFor({ timeout: 5_000 });
        await this.choose(entry);
        await shown?.waitFor({ timeout: 30_000 });
        return;
      } catch (error) {
        // It may have come late.
        if ((await shown?.isVisible()) === true) return;
        if (attempt === 3) throw error;
        await this.page.keyboard.press('Escape');
      }
    }
  }

  /** Waits until VS Code has stored which editors are open, a word of which is `text`. In a browser it does so every few seconds only,
   *  and not at all while the page goes: what a reload is to bring back must have been stored before. */
  async stored(text: string): Promise<void> {
    for (const end = Date.now() + 60_000; !(await this.page.evaluate<string>(STORED_EDITORS)).includes(text);) {
      if (Date.now() > end) throw new Error(`VS Code has not stored that ${text} is open`);
      await sleep(200);
    }
  }

  /** Chooses a quick fix of a problem in the list of problems. */
  async quickFix(problem: Locator, fix: RegExp): Promise<void> {
    const item = this.page
      .locator('.monaco-menu .action-label, .action-widget .monaco-list-row', { hasText: fix })
      .first();
    for (let attempt = 1; ; attempt++) {
      await problem.click();
      await this.page.keyboard.press('Control+.');
      try {
        await item.waitFor({ timeout: 10_000 });
        break;
      } catch (error) {
        // There may have been no fixes yet.
        if (attempt === 6) throw error;
        await this.page.keyboard.press('Escape');
      }
    }
    await this.choose(fix);
  }

  /** Opens a file of the workspace by its name. */
  async openFile(name: string): Promise<void> {
    const { page } = this;
    const input = page.locator('.quick-input-widget input[type=text]');
    const row = page.locator('.quick-input-widget .monaco-list-row', { hasText: name }).first();
    for (let attempt = 1; ; attempt++) {
      await page.keyboard.press('Control+P');
      try {
        await input.waitFor({ state: 'visible', timeout: 3_000 });
        await input.fill(name);
        // A file that has just been written may be missing from the list for as long as the list is open.
        await row.waitFor({ timeout: 15_000 });
        break;
      } catch (error) {
        if (attempt === 8) throw error;
        await page.keyboard.press('Escape');
      }
    }
    await row.click();
    await page.locator('.tab.active', { hasText: name }).waitFor();
  }

  /** The webview whose document holds the selector. */
  async webview(selector: string, timeout = 60_000): Promise<Frame> {
    for (const end = Date.now() + timeout; ;) {
      for (const frame of this.page.frames()) {
        // A webview is two frames deep: the sandbox, and in it the page.
        if ((frame.parentFrame()?.parentFrame() ?? null) === null) continue;
        const found = await frame
          .locator(selector)
          .count()
          .catch(() => 0);
        if (found > 0) return frame;
      }
      if (Date.now() > end) throw new Error(`no webview with ${selector}`);
      await sleep(100);
    }
  }

  screenshot(file: string): Promise<Buffer> {
    return this.page.screenshot({ path: file });
  }
}

/** What the workbench has stored of its editors, of every workspace of this page. In the page, so without types. */
const STORED_EDITORS = `(async () => {
  const done = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  let text = '';
  for (const { name } of await indexedDB.databases()) {
    if (!name.startsWith('vscode-web-state-db-')) continue;
    const database = await done(indexedDB.open(name));
    if (database.objectStoreNames.contains('ItemTable')) {
      const items = database.transaction('ItemTable', 'readonly').objectStore('ItemTable');
      text += (await done(items.get('memento/workbench.parts.editor'))) ?? '';
    }
    database.close();
  }
  return text;
})()`;

/** VS Code newer than 1.100 honours the payload with the driver of its own smoke tests only. In the page, so without types. */
const USE_SMOKE_TEST_DRIVER = `
new MutationObserver((_, observer) => {
  const meta = document.getElementById('vscode-workbench-web-configuration');
  if (meta === null) return;
  observer.disconnect();
  const settings = JSON.parse(meta.dataset.settings);
  settings.developmentOptions = { ...settings.developmentOptions, enableSmokeTestDriver: true };
  meta.dataset.settings = JSON.stringify(settings);
}).observe(document, { childList: true, subtree: true });
`;
