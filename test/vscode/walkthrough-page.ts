// The page of the walkthrough "Your first 2-bit model" as a user has it.
import type { Locator } from 'playwright-core';
import { until } from './suite';
import type { Window } from './window';

export const STEPS = ['sample', 'form', 'start', 'charts', 'compare', 'export'] as const;
export type Step = (typeof STEPS)[number];

const mark = (w: Window, id: Step): Locator => w.page.locator(`[data-done-step-id$="#firstModel#${id}"]`).first();

export async function shown(w: Window): Promise<void> {
  await mark(w, 'compare').waitFor();
}

/** Steps that are ticked off. */
export async function done(w: Window): Promise<string> {
  const marks = await Promise.all(STEPS.map((id) => mark(w, id).getAttribute('aria-checked')));
  return STEPS.filter((_, index) => marks[index] === 'true').join();
}

export const isDone = (w: Window, expected: string): Promise<void> =>
  until(async () => (await done(w)) === expected, `done: ${expected}`);

export async function show(w: Window): Promise<void> {
  await w.command('LR-QAT: Your First 2-Bit Model');
  await shown(w);
}

/** Presses a button of a step. */
export async function press(w: Window, id: Step, label: string): Promise<void> {
  const row = w.page.locator('.getting-started-step', { has: mark(w, id) });
  const button = row.getByRole('button', { name: label, exact: true });
  // The step that comes next unfolds by itself, maybe just now.
  for (let attempt = 1; !(await button.isVisible()); attempt++) {
    if (attempt > 1) await row.locator('.step-title').click();
    await button.waitFor({ timeout: 10_000 }).catch((error: unknown) => {
      if (attempt === 5) throw error;
    });
  }
  await button.click();
}
