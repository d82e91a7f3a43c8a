// The form of an experiment as a user has it.
import type { Frame, Locator } from 'playwright-core';
import type { Window } from './window';

export class Form {
  private constructor(private readonly frame: Frame) {}

  /** @param sign what is there once the form says what it should */
  static async of(window: Window, sign = '.needs[data-total]'): Promise<Form> {
    return new Form(await window.webview(`#panel:has(.needs) ${sign}`, 60_000));
  }

  field(id: string): Locator {
    return this.frame.locator(`[data-field="${id}"]`);
  }

  slider(id: string): Locator {
    return this.field(id).getByRole('slider');
  }

  get notice(): Locator {
    return this.frame.locator('.notice', { hasText: 'cannot be read' });
  }

  levels(count: number): Locator {
    return this.frame.locator(`[data-levels="${String(count)}"]`);
  }

  get grid(): Locator {
    return this.frame.locator('.grid-view[data-levels]');
  }

  /** Bytes that the live panel says are needed. */
  async memory(): Promise<number> {
    return Number(await this.frame.locator('.needs').getAttribute('data-total'));
  }
}
