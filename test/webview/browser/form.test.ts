// The form as a user has it: the real bundle in a real browser, on the text of the sample.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Browser } from 'playwright-core';
import { parseExperiment } from '../../../src/experiment';
import { FormPage, sampleFacts, sampleText } from './form-page';
import { becomes, eventually, isAccessible, launchBrowser, serve, type OpenOptions, type ThemeName } from './page';
import type { PageState } from '../../../webview/form/protocol';

const browser: Browser | null = await launchBrowser();
const skip = browser === null && 'no Chromium on this machine (Debian: apt install chromium)';
const facts = await sampleFacts();
const BITS = 'quantization.weights.bits';
const RANK = 'quantization.lowRank.rank';

void describe('the form in a browser', { skip }, () => {
  let served: Awaited<ReturnType<typeof serve>>;
  before(async () => {
    served = await serve('form');
  });
  after(async () => {
    served.server.close();
    await browser?.close();
  });

  const withForm = async (
    options: OpenOptions<PageState>,
    body: (form: FormPage) => Promise<void>,
    text = sampleText,
  ): Promise<void> => {
    const form = await FormPage.open(browser!, served.url, options);
    try {
      await form.show(text);
      await form.showFacts(facts);
      await body(form);
      assert.deepEqual(form.problems, []);
    } finally {
      await form.close();
    }
  };

  void it('shows the file and asks for no change of it', () =>
    withForm({}, async (form) => {
      await form.showWeights();
      await becomes(() => form.box(RANK).inputValue(), '32');
      await becomes(() => form.field('training.beta1').getAttribute('data-written'), 'false');
      await becomes(() => form.field(BITS).getAttribute('data-written'), 'true');
      await eventually(async () => assert.ok((await form.memory()) > 1e6));
      await form.show(sampleText.replace('"learnScales": true', '"learnScales": false'));
      await form.frame();
      assert.deepEqual(await form.asked(), []);
    }));

  void it('follows a slider at once, and asks for one change when it is let go', () =>
    withForm({}, async (form) => {
      const first = await form.planned();
      await form.slider(RANK).focus();
      await form.page.keyboard.down('ArrowLeft');
      await form.page.keyboard.down('ArrowLeft');
      await form.page.keyboard.down('ArrowLeft');
      await becomes(() => form.slider(RANK).getAttribute('aria-valuetext'), '4');
      const moved = await form.memory();
      assert.ok(moved < first, `${String(moved)} < ${String(first)}`);
      assert.deepEqual(await form.asked(), [], 'nothing while the key is down');
      await form.page.keyboard.up('ArrowLeft');
      const changes = await form.apply();
      assert.deepEqual(changes, [{ kind: 'set', path: ['quantization', 'lowRank', 'rank'], value: 4 }]);
      assert.equal(form.text, sampleText.replace('"rank": 32', '"rank": 4'));
      await becomes(() => form.memory(), moved, 'what was promised is what it is');
    }));

  void it('the pointer as well; let go where it began, a slider changes nothing', () =>
    withForm({}, async (form) => {
      const { mouse } = form.page;
      await form.slider(BITS).scrollIntoViewIfNeeded();
      const slider = (await form.slider(BITS).boundingBox())!;
      const [left, y] = [slider.x + 8, slider.y + slider.height / 2];
      const first = await form.planned();
      await mouse.move(left, y);
      await mouse.down();
      await mouse.move(left + slider.width / 2, y, { steps: 5 });
      await mouse.move(left, y, { steps: 5 });
      await mouse.up();
      assert.deepEqual(await form.asked(), []);
      await becomes(() => form.memory(), first);
      await mouse.down();
      await mouse.move(slider.x + slider.width - 2, y, { steps: 5 });
      await mouse.up();
      assert.deepEqual(await form.apply(), [{ kind: 'set', path: BITS.split('.'), value: 8 }]);
    }));

  void it('the weight picture follows the bits', () =>
    withForm({}, async (form) => {
      await form.showWeights();
      const grid = form.page.locator('.grid-view');
      await becomes(() => grid.getAttribute('data-levels'), '4');
      const coarse = Number(await grid.getAttribute('data-error'));
      await form.slider(BITS).press('ArrowRight');
      await form.page.locator('.grid-view[data-levels="8"]').waitFor();
      assert.ok(Number(await grid.getAttribute('data-error')) < coarse / 1.5);
      await eventually(async () => {
        const inked = await grid.locator('canvas').evaluate((canvas) => {
          const { width, height } = canvas as HTMLCanvasElement;
          const pixels = (canvas as HTMLCanvasElement).getContext('2d')!.getImageData(0, 0, width, height).data;
          return pixels.filter((value, at) => at % 4 === 3 && value > 0).length / (width * height);
        });
        assert.ok(inked > 0.1, `${String(inked)} of the pixels drawn`);
      });
    }));

  void it('takes numbers as people type them and refuses what is none', () =>
    withForm({}, async (form) => {
      const rate = form.box('training.learningRate.lowRank');
      await rate.fill('2e-3');
      await rate.press('Enter');
      assert.deepEqual(await form.apply(), [
        { kind: 'set', path: ['training', 'learningRate', 'lowRank'], value: 0.002 },
      ]);
      await rate.fill('fast');
      await rate.press('Enter');
      await form.field('training.learningRate.lowRank').getByText('"fast" is not a number from 0 to 1').waitFor();
      assert.deepEqual(await form.asked(), []);
    }));

  void it('has a control for each setting of quantized activations', () =>
    withForm({}, async (form) => {
      const activations = 'quantization.activations';
      const withActivations = (value: string): string =>
        sampleText.replace('"learnScales": true', `"learnScales": true, "activations": ${value}`);
      const settings = form.field(activations).locator('.settings');
      await becomes(() => settings.isVisible(), false);
      const without = await form.planned();
      await form.show(withActivations('{ "bits": 8 }'));
      await becomes(() => settings.isVisible(), true);
      await eventually(async () => assert.ok((await form.memory()) > without, 'gradients need marks'));
      await becomes(() => form.box(`${activations}.bits`).inputValue(), '8');
      // What belongs to static ranges comes with them.
      await becomes(() => form.field(`${activations}.sequences`).isVisible(), false);
      await form.show(withActivations('{ "bits": 8, /* as in the paper */ "range": "static" }'));
      await becomes(() => form.field(`${activations}.sequences`).isVisible(), true);
      await becomes(() => form.field(`${activations}.learningRate`).isVisible(), false);
      await form.field(`${activations}.learn`).getByRole('checkbox').click();
      assert.deepEqual(await form.apply(), [
        { kind: 'set', path: ['quantization', 'activations', 'learn'], value: true },
      ]);
      await becomes(() => form.field(`${activations}.learningRate`).isVisible(), true);
      await form.slider(`${activations}.kvBits`).focus();
      await form.page.keyboard.press('ArrowLeft');
      await form.apply();
      assert.match(form.text, /"bits": 8, \/\* as in the paper \*\/ "range": "static"/, 'comments stay');
      assert.deepEqual(parseExperiment(form.text, 'x').experiment?.quantization.activations, {
        bits: 8,
        range: 'static',
        learn: true,
        kvBits: 7,
      });
      await form.field(activations).getByText('A8KV7, static ranges, learned').waitFor();
      await form.show(withActivations('{ "bits": 9, "bit": 4 }'));
      await form
        .field(`${activations}.bits`)
        .getByText(/9 is too large/)
        .waitFor();
      await form.field(activations).getByText(/bit/).and(form.page.locator('.problem span')).first().waitFor();
      await form.show(withActivations('"a4"'));
      await becomes(() => settings.isVisible(), false);
      await isAccessible(form.page);
    }));

  void it('switches groups of parameters and distillation, each with its number', () =>
    withForm({}, async (form) => {
      const norms = 'training.learningRate.norms';
      const weight = 'training.distillation.weight';
      const { text } = form;
      await becomes(() => form.box(norms).isVisible(), false);
      await form
        .field(norms)
        .getByText(/numbers, .* to train them/)
        .waitFor();
      const before = await form.planned();
      await form.field(norms).getByRole('checkbox').click();
      assert.deepEqual(await form.apply(), [{ kind: 'set', path: norms.split('.'), value: 5e-5 }]);
      await eventually(async () => assert.ok((await form.memory()) > before, 'gradients and moments'));
      await form.box(norms).fill('1e-4');
      await form.box(norms).press('Enter');
      await form.apply();
      await form.field(norms).getByRole('checkbox').click();
      await form.apply();
      await form.field(norms).getByRole('checkbox').click();
      assert.deepEqual(await form.apply(), [{ kind: 'set', path: norms.split('.'), value: 1e-4 }], 'as it was');

      await form.show(text);
      await becomes(() => form.field('training.distillation.topK').isVisible(), false);
      const teacher = form.page.locator('.needs dt', { hasText: 'Float model' });
      await becomes(() => teacher.isVisible(), false);
      await form.field(weight).getByRole('checkbox').click();
      assert.deepEqual(await form.apply(), [{ kind: 'set', path: weight.split('.'), value: 0.75 }]);
      await becomes(() => form.field('training.distillation.topK').isVisible(), true);
      await becomes(() => teacher.isVisible(), true);
      const file = async (): Promise<string> =>
        await form.page.locator('.needs dd', { hasText: 'a file of' }).innerText();
      const first = await file();
      await form.slider('training.distillation.topK').press('ArrowRight');
      await eventually(async () => assert.notEqual(await file(), first, 'the file grows with the tokens'));
      await form.slider(weight).focus();
      await becomes(() => form.slider(weight).getAttribute('aria-valuetext'), '0.75 of the loss');
    }));

  void it('hides what a method does not use, and says why; what the file sets stays, without effect', () =>
    withForm({}, async (form) => {
      const method = (name: string, more = ''): string =>
        sampleText.replace(/"method": "[^"]*",/, `"method": "${name}",${more}`);
      const start = form.page.locator('[data-group="start"]');
      await becomes(() => form.field('quantization.gptq.sequences').isVisible(), false);
      await form.show(method('lr-qat', ' "start": { "integers": "gptq" },'));
      await becomes(() => form.field('quantization.gptq.sequences').isVisible(), true);
      await form.page.locator('.needs dt', { hasText: 'Finding the start' }).waitFor();

      await form.show(method('peqa'));
      await start.getByText(/^Not shown: Start of A and B\. Method “peqa” keeps the integers/).waitFor();
      const rank = form.field(RANK);
      await rank.getByText('No effect: Method “peqa” keeps the integers and trains the scales alone.').waitFor();
      await becomes(() => form.box(RANK).isDisabled(), true);
      await becomes(() => form.slider(RANK).isDisabled(), true);
      const why = await rank.getAttribute('aria-describedby');
      assert.equal(await form.page.locator(`[id="${String(why)}"]`).count(), 1);
      await rank.getByRole('button', { name: /back to the default/ }).click();
      await form.apply();
      await becomes(() => rank.isVisible(), false);
      await form.page
        .locator('[data-group="trained"]')
        .getByText(/Not shown: Rank/)
        .waitFor();

      await form.show(method('gptq'));
      await becomes(() => form.field('quantization.gptq.damping').isVisible(), true);
      await becomes(() => form.field('quantization.start.integers').isVisible(), false);
      await form.page.locator('[data-group="training"]').getByText('Method “gptq” trains nothing.').first().waitFor();
      // Not where a sweep goes through methods.
      await form.show(
        method('gptq').replace('"name":', '"sweep": { "quantization.method": ["gptq", "lr-qat"] },\n  "name":'),
      );
      await becomes(() => form.field('quantization.start.lowRank').isVisible(), true);
      await becomes(() => form.box(RANK).isDisabled(), false);
    }));

  void it('shows problems at their fields and those of rare settings too', () =>
    withForm({}, async (form) => {
      await form.show(
        sampleText.replace('"microBatchSize": 8', '"microBatchSize": 3').replace('"seed": 1000', '"seed": -1'),
      );
      await form
        .field('training.microBatchSize')
        .getByText(/3 does not divide/)
        .waitFor();
      await form.field('training.seed').getByText(/-1/).first().waitFor();
      await form
        .field('training.microBatchSize')
        .getByRole('button', { name: /Change to/ })
        .first()
        .click();
      await becomes(async () => (await form.posted<{ fix: number }>('form/fix')).map(({ fix }) => fix), [0]);
    }));

  void it('reset takes a key out of the file, and only reset does', () =>
    withForm({}, async (form) => {
      await form.box('data.sequenceLength').fill('1024');
      await form.box('data.sequenceLength').press('Enter');
      await form.apply();
      assert.ok(form.text.includes('"sequenceLength": 1024'));
      await form
        .field('data.sequenceLength')
        .getByRole('button', { name: /back to the default/ })
        .click();
      assert.deepEqual(await form.apply(), [{ kind: 'remove', path: ['data', 'sequenceLength'], value: undefined }]);
      await becomes(() => form.field('data.sequenceLength').getAttribute('data-written'), 'false');
    }));

  void it('exceptions by layer: add, change, say how many linears match, remove', () =>
    withForm({}, async (form) => {
      const layers = form.field('quantization.layers');
      await layers.getByRole('button', { name: 'Add Exception' }).click();
      await form.apply();
      await layers.getByText(`matches ${String(facts.shape.layers)} linears`).waitFor();
      await layers.locator('[data-field="match"] input').fill('*.q_proj');
      await layers.locator('[data-field="match"] input').press('Enter');
      await form.apply();
      const { experiment } = parseExperiment(form.text, 'x');
      assert.deepEqual(experiment?.quantization.layers, [{ match: '*.q_proj', bits: 4 }]);
      await layers.getByRole('button', { name: /Remove the exception/ }).click();
      await form.apply();
      await layers.getByText('All linears are treated alike.').waitFor();
    }));

  void it('files are added and removed one by one', () =>
    withForm({}, async (form) => {
      const add = form.field('data.train').getByPlaceholder('Add a path or pattern').locator('input');
      await add.fill('more/*.txt');
      await add.press('Enter');
      await form.apply();
      assert.ok(form.text.includes('"train": ["train.txt", "more/*.txt"]'));
      await form.field('data.train').getByRole('button', { name: 'Remove more/*.txt' }).click();
      await form.apply();
      assert.equal(form.text, sampleText);
    }));

  void it('lists what differs from the recipe, and takes its value over', () =>
    withForm({}, async (form) => {
      const recipe = form.page.locator('.recipe-view');
      await recipe.locator('[data-recipe="quantization.lowRank.alpha"]').getByText('paper: 1').waitFor();
      assert.equal(await recipe.locator('[data-recipe="training.schedule"]').count(), 0);
      await recipe.getByRole('button', { name: 'Alpha: use the paper’s 1' }).click();
      await form.apply();
      assert.equal(form.text, sampleText.replace('"alpha": 32', '"alpha": 1'));
      await becomes(() => recipe.locator('[data-recipe="quantization.lowRank.alpha"]').count(), 0);
    }));

  void it('a broken text can be looked at, and leads to its error', () =>
    withForm({}, async (form) => {
      await form.show(sampleText.replace('"rank": 32,', '"rank": 32'));
      await form.page.getByText('The text cannot be read').waitFor();
      await becomes(() => form.slider(RANK).isDisabled(), true);
      await becomes(() => form.box(RANK).isDisabled(), true);
      await becomes(() => form.box(RANK).inputValue(), '32', 'as it last was');
      await form.page.getByRole('button', { name: 'Go There' }).click();
      const places = () => form.posted<{ position: { line: number } }>('form/showText');
      await becomes(async () => (await places()).map(({ position }) => position.line), [20]);
      await form.show(sampleText);
      await becomes(() => form.slider(RANK).isEnabled(), true);
      assert.deepEqual(await form.asked(), []);
    }));

  void it('says what does not fit, and what would', () =>
    withForm({}, async (form) => {
      await form.showFacts({ ...facts, machine: { ...facts.machine, totalMemory: 64 * 2 ** 20 } });
      await becomes(() => form.page.locator('.needs').getAttribute('data-fits'), 'false');
      await form.page
        .locator('.verdict')
        .getByText(/too much/)
        .waitFor();
      await form.page.locator('.helps').getByRole('button').first().click();
      await becomes(async () => (await form.posted('form/setAll')).length, 1, 'one message: one step of undo');
      assert.ok((await form.apply()).length > 0);
    }));

  void it('bears a text in which everything has the wrong type', () =>
    withForm({}, async (form) => {
      for (const text of [
        '{}',
        '{ "model": 1, "data": [], "quantization": null, "training": "fast", "sweep": { "x": [1] } }',
        '{ "quantization": { "weights": { "bits": "two", "granularity": { "group": "x" } }, "layers": [1, null, "a"], "lowRank": { "rank": -1e300 } } }',
        '{ "data": { "train": "train.txt", "sequenceLength": 1e300 }, "training": { "batchSize": 1.5, "microBatchSize": {} } }',
      ]) {
        await form.show(text);
        await form.frame();
      }
      await form.show(sampleText);
      await eventually(async () => assert.ok((await form.memory()) > 1e6));
      assert.deepEqual(await form.asked(), []);
    }));

  void it('a sweep is shown, and edited in the text', () =>
    withForm({}, async (form) => {
      const sweep = form.page.locator('[data-field="sweep"]');
      await becomes(() => sweep.isVisible(), false);
      await form.show(sampleText.replace('"name":', '"sweep": { "quantization.weights.bits": [2, 3] },\n  "name":'));
      await sweep.getByText('{ "quantization.weights.bits": [2, 3] }').waitFor();
      await sweep.getByRole('button', { name: 'Edit in Text' }).click();
      await becomes(
        async () => (await form.posted<{ path: string[] }>('form/showText')).map(({ path }) => path),
        [['sweep']],
      );
    }));

  void it('is back as it was left', () =>
    withForm(
      { state: { version: '1', open: ['training'], linear: 'model.layers.0.mlp.up_proj', scroll: 0 } },
      async (form) => {
        await form.field('training.beta1').waitFor({ state: 'visible' });
        const requests = () => form.posted<{ linear: string }>('form/requestWeights');
        await becomes(async () => (await requests())[0]?.linear, 'model.layers.0.mlp.up_proj');
      },
    ));

  for (const theme of ['dark', 'light', 'high-contrast'] as const satisfies readonly ThemeName[]) {
    void it(`axe finds nothing in the ${theme} theme, wide and narrow, whole and broken`, () =>
      withForm({ theme }, async (form) => {
        await form.showWeights();
        for (const more of await form.page.locator('details summary:visible').all()) await more.click();
        const wrong = sampleText
          .replace(
            '"learnScales": true',
            '"learnScales": true, "layers": [{ "match": "*.down_proj", "bits": 4, "skip": false }], "activations": { "bits": 8, "range": "static", "learn": true }',
          )
          .replace('"schedule"', '"distillation": { "weight": 0.5 }, "schedule"')
          .replace('"lowRank": 4e-3', '"lowRank": 4e-3, "norms": 1e-4')
          .replace('"microBatchSize": 8', '"microBatchSize": 3');
        await form.show(wrong);
        await isAccessible(form.page);
        await form.show(wrong.replace('"method": "lr-qat"', '"method": "lsq"'));
        await form
          .field(RANK)
          .getByText(/^No effect/)
          .waitFor();
        await isAccessible(form.page);
        await form.page.setViewportSize({ width: 380, height: 800 });
        await eventually(async () => {
          const overflow = await form.page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
          assert.ok(overflow <= 0, `${String(overflow)} pixels too wide`);
        });
        await form.show(wrong.slice(0, -4));
        await form.page.getByText('The text cannot be read').waitFor();
        await isAccessible(form.page);
      }));
  }
});
