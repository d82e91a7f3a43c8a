// What a test can see of a live-charts panel: by the data that its charts say they show, and by the pixels that are there.
import type { Frame } from 'playwright-core';
import type { Window } from './window';

export class Charts {
  private constructor(private readonly frame: Frame) {}

  /** The panel's page, once its loss chart is there.
   *  @param state of the run that it must show: the page of another panel may be there for a moment longer */
  static async of(window: Window, state?: string): Promise<Charts> {
    const shown = state === undefined ? '' : `:has([data-state="${state}"]) `;
    const frame = await window.webview(`#panel${shown} [data-chart="loss"][data-points]`, 120_000);
    return new Charts(frame);
  }

  /** A number that a chart's element carries (`points`, `last-step`). */
  async number(chart: string, name: string): Promise<number> {
    const element = this.frame.locator(`[data-chart="${chart}"][data-${name}], [data-chart="${chart}"] [data-${name}]`);
    return Number(await element.first().getAttribute(`data-${name}`));
  }

  /** Pixels of a chart that are not transparent. */
  inkOf(chart: string): Promise<number> {
    const canvas = `document.querySelector('[data-chart="${chart}"] .plot-canvas canvas')`;
    return this.frame.evaluate<number>(`(${COUNT_INK})(${canvas})`);
  }

  /** Size of a chart's drawing in CSS pixels. */
  async sizeOf(chart: string): Promise<{ readonly width: number; readonly height: number }> {
    const box = await this.frame.locator(`[data-chart="${chart}"] .plot-canvas`).boundingBox();
    if (box === null) throw new Error(`${chart} is not shown`);
    return { width: Math.round(box.width), height: Math.round(box.height) };
  }

  async state(): Promise<string> {
    return (await this.frame.locator('[data-state]').first().getAttribute('data-state')) ?? '';
  }

  async press(verb: 'pause' | 'resume' | 'stop' | 'checkpoint'): Promise<void> {
    await this.frame.locator(`[data-verb="${verb}"]`).click();
  }

  /** Whether the button of a verb is there and cannot be pressed. The browser knows the state of its own buttons only. */
  async isDisabled(verb: string): Promise<boolean> {
    return (await this.frame.locator(`[data-verb="${verb}"][disabled]`).count()) > 0;
  }

  /** Milliseconds from the time an event was written to the frame that shows it. */
  async delay(): Promise<number | null> {
    const value = await this.frame
      .locator('[data-event-to-frame-ms]')
      .first()
      .getAttribute('data-event-to-frame-ms', { timeout: 1_000 })
      .catch(() => null);
    return value === null ? null : Number(value);
  }
}

/** A function of the page, which has no types here. */
const COUNT_INK = `(canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let ink = 0;
  for (let at = 3; at < data.length; at += 4) if (data[at] > 0) ink++;
  return ink;
}`;
