// The form in a browser, with a host that does to a text what the real one does to a document.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Browser, Locator } from 'playwright-core';
import { editsFor, type Change } from '../../../src/editor/form/edits';
import { formState } from '../../../src/editor/form/form-state';
import { sampleWeights } from '../../../src/editor/validation/sample-weights';
import { guessedCalibration, parseExperiment } from '../../../src/experiment';
import { applyTextEdits } from '../../../src/experiment/document';
import { openModel } from '../../../src/formats';
import {
  Facts,
  State,
  Weights,
  type Json,
  type PageState,
  type Path,
  type PlanningFacts,
} from '../../../webview/form/protocol';
import { eventually, PanelPage, type OpenOptions } from './page';

const MODEL = path.resolve('samples/first-run/model');
export const sampleText = readFileSync('samples/first-run/w2-rank32.lrqat.json', 'utf8');

export async function sampleFacts(): Promise<PlanningFacts> {
  const { shape } = await openModel(MODEL);
  return {
    model: MODEL,
    shape,
    machine: { totalMemory: 16 * 2 ** 30, cores: 2, nativeBf16: false, device: 'cpu' },
    calibration: guessedCalibration({ isa: 'avx2', bf16: 'none', cores: 2, compute: 'float32' }),
  };
}

interface Sent {
  readonly method: string;
  readonly params: {
    readonly path: Path;
    readonly value: Json;
    readonly values: readonly { readonly path: Path; readonly value: Json }[];
  };
}

export class FormPage extends PanelPage {
  private version = 0;
  private taken = 0;
  private before: Json = {};
  text = '';

  static async open(browser: Browser, url: string, options: OpenOptions<PageState> = {}): Promise<FormPage> {
    const opened = new FormPage(await PanelPage.newPage(browser, options));
    await opened.load(url, 'form/ready');
    return opened;
  }

  /** The text as it stands from now on. */
  async show(text: string): Promise<void> {
    this.text = text;
    const file = 'w2-rank32.lrqat.json';
    const { problems } = parseExperiment(text, file);
    const state = formState({ text, version: ++this.version, file, problems, before: this.before });
    this.before = state.written;
    await this.send([State.of(state)]);
  }

  async showFacts(facts: PlanningFacts): Promise<void> {
    await this.send([Facts.of(facts)]);
  }

  /** Answers the request for weights. */
  async showWeights(): Promise<void> {
    const linear = 'model.layers.0.self_attn.q_proj';
    const { rows, columns, values } = await sampleWeights(MODEL, linear);
    await this.send([Weights.of({ model: MODEL, linear, rows, columns, values: values.buffer as ArrayBuffer })]);
    await this.page.locator('.grid-view[data-levels]').waitFor();
  }

  /** Changes that the page has asked for since the last look. */
  async asked(): Promise<Change[]> {
    const kinds = { 'form/set': 'set', 'form/append': 'append', 'form/remove': 'remove' } as const;
    const all = (await this.page.evaluate(() => window.posted)) as unknown as Sent[];
    const fresh = all.slice(this.taken);
    this.taken = all.length;
    return fresh.flatMap(({ method, params }): Change[] => {
      if (method === 'form/setAll') return params.values.map((each) => ({ kind: 'set', ...each }));
      const kind = method in kinds ? kinds[method as keyof typeof kinds] : undefined;
      return kind === undefined ? [] : [{ kind, path: params.path, value: params.value }];
    });
  }

  /** Waits for them and makes them, one edit each. */
  async apply(): Promise<Change[]> {
    const changes = await eventually(async () => {
      const fresh = await this.asked();
      assert.ok(fresh.length > 0, 'the page asks for a change');
      return fresh;
    });
    const text = changes.reduce((before, change) => applyTextEdits(before, editsFor(before, change)), this.text);
    await this.show(text);
    return changes;
  }

  field(id: string): Locator {
    return this.page.locator(`[data-field="${id}"]`);
  }

  slider(id: string): Locator {
    return this.field(id).getByRole('slider');
  }

  box(id: string): Locator {
    return this.field(id).locator('vscode-text-field input').first();
  }

  /** Memory that the live panel says, once it says any. */
  async planned(): Promise<number> {
    await this.page.locator('.needs[data-total]').waitFor();
    return this.memory();
  }

  async memory(): Promise<number> {
    return Number(await this.page.locator('.needs').getAttribute('data-total'));
  }
}
