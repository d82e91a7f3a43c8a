// The compare panel in a browser, and runs to compare.
import type { Browser } from 'playwright-core';
import { factsOf, type Json } from '../../../src/compare';
import { gapClosed, RESULT_SCHEMA, type DerivedState, type RunResult } from '../../../src/runs';
import { newStatus } from '../../../src/runs/status-file';
import type { PanelState, Run } from '../../../webview/compare/protocol';
import { PanelPage, type OpenOptions } from './page';

export class ComparePage extends PanelPage {
  static async open(browser: Browser, url: string, options: OpenOptions<PanelState> = {}): Promise<ComparePage> {
    const opened = new ComparePage(await PanelPage.newPage(browser, options));
    await opened.load(url, 'compare/ready');
    return opened;
  }

  state(): Promise<PanelState> {
    return this.page.evaluate(() => window.storedState) as Promise<PanelState>;
  }

  /** A cell of the table by run and metric or setting. */
  cell(row: string, column: string) {
    return this.page.locator(`.grid-scroller [data-row="${row}"][data-column="${column}"]`);
  }

  /** Runs in the order of their columns or rows, as far as they are in view. */
  order(layout: 'columns' | 'rows' = 'columns'): Promise<string[]> {
    const of = layout === 'columns' ? '.grid-head .cell' : '.grid-body [role=rowheader]';
    const name = layout === 'columns' ? 'data-column' : 'data-row';
    return this.page
      .locator(of)
      .evaluateAll(
        (cells, attribute) => cells.map((cell) => cell.getAttribute(attribute) ?? '').filter((id) => id !== ''),
        name,
      );
  }
}

export interface RunOptions {
  readonly bits?: number;
  readonly rank?: number;
  readonly trained?: number | null;
  readonly state?: DerivedState;
  readonly title?: string;
  readonly tags?: readonly string[];
}

/** A run of a small model; without `trained` it has no result yet. */
export function compareRun(id: string, options: RunOptions = {}): Run {
  const {
    bits = 2,
    rank = 32,
    trained = null,
    state = trained === null ? 'running' : 'finished',
    title,
    tags,
  } = options;
  const experiment: Json = {
    name: 'w2',
    model: { path: 'model' },
    quantization: { weights: { bits, granularity: 'per-channel', symmetric: true }, lowRank: { rank, scaling: 1 } },
    training: { steps: 150, batchSize: 8, seed: 1, learningRate: { lowRank: 0.001, scales: 0.0001 } },
    data: { train: ['train.txt'], sequenceLength: 256 },
  };
  const status = {
    ...newStatus(state === 'crashed' || state === 'stale' ? 'running' : state, 150, 0),
    step: trained === null ? 60 : 150,
    loss: 4 - bits / 10,
    tokensPerSecond: 9000 + rank,
    memory: { engine: 5e7 + rank * 1e5, resident: 1e8 },
    best: { step: 50, perplexity: (trained ?? 60) + 0.5 },
  };
  const facts = factsOf({
    name: `20250101-${id}`,
    notes: { ...(title === undefined ? {} : { name: title }), ...(tags === undefined ? {} : { tags }) },
    state,
    status,
    experiment,
    result: trained === null ? null : resultOf(bits, rank, trained),
    events: [],
  });
  return { ...facts, id, label: 'Jan 1 10:00', experiment: 'w2', done: trained === null ? 0.4 : 1, problem: null };
}

function resultOf(bits: number, rank: number, trained: number): RunResult {
  const perplexity = { float: 49.2, roundToNearest: 49.2 + 90 / 2 ** bits, trained, merged: trained };
  return {
    schema: RESULT_SCHEMA,
    perplexity,
    bitsPerWeight: bits + 0.13,
    modelBytes: 1e6 * (1 + bits),
    float: { bitsPerWeight: 16, modelBytes: 17e6 },
    gapClosed: gapClosed(perplexity),
    peakMemoryBytes: 5e7 + rank * 1e5,
    residentMemoryBytes: 2e8,
    tokensPerSecond: 9000 + rank,
    seconds: 60 + rank,
  };
}

/** Four finished runs at three sizes. */
export const FOUR: readonly Run[] = [
  compareRun('100000-w2-rank8', { bits: 2, rank: 8, trained: 58.1 }),
  compareRun('110000-w2-rank32', { bits: 2, rank: 32, trained: 55.4, title: 'Wide', tags: ['paper'] }),
  compareRun('120000-w3-rank32', { bits: 3, rank: 32, trained: 51.2 }),
  compareRun('130000-w4-rank32', { bits: 4, rank: 32, trained: 52.9 }),
];
