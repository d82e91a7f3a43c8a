// The form of an experiment as a user has it.
import type { Frame, Locator } from 'playwright-core';
import type { Window } from './window';

export class Form {
  private constructor(private readonly frame: Frame) {}

  static async of(window: Window): Promise<Form> {
    const frame = await window.webview('#panel .needs', 60_000);
    await frame.locator('.needs[data-total]').waitFor({ timeout: 60_000 });
    return new Form(frame);
  }

  field(id: string): Locator {
    return this.frame.locator(`[data-field="${id}"]`);
  }

  slider(id: string): Locator {
    return this.field(id).getByRole('slider');
  }

  get broken(): Locator {
    return this.frame.locator('.notice', { hasText: 'cannot be read' });
  }

  get grid(): Locator {
    return this.frame.locator('.grid-view[data-levels]');
  }

  /** Bytes that the live panel says are needed. */
  async memory(): Promise<number> {
    return Number(await this.frame.locator('.needs').getAttribute('data-total'));
  }
}
