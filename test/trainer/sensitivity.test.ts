// measureSensitivity on the sample: linears rounded one at a time.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { before, test } from 'node:test';
import { parseExperiment, resolvePaths, type Experiment } from '../../src/experiment';
import { measureMixture, measureSensitivity, type SensitivityOptions } from '../../src/trainer/sensitivity';
import { sharedFolder } from './sample-run';

const folder = sharedFolder();
let options: SensitivityOptions;

before(() => {
  process.env['XDG_CACHE_HOME'] = folder;
  const text = path.join(folder, 'text.txt');
  writeFileSync(text, readFileSync('samples/first-run/validation.txt').subarray(0, 2000));
  const file = 'samples/first-run/w2-rank32.lrqat.json';
  const { experiment } = parseExperiment(readFileSync(file, 'utf8'), file);
  assert.ok(experiment);
  const sample: Experiment = {
    ...experiment,
    data: { ...experiment.data, sequenceLength: 32, validation: [text] },
    quantization: {
      ...experiment.quantization,
      // Four linears are left: quick, and the exceptions count.
      layers: [
        { match: '*', skip: true },
        { match: 'model.layers.0.mlp.*', skip: false },
        { match: 'model.layers.5.mlp.down_proj', skip: false },
      ],
    },
    compute: 'float32',
    device: 'cpu',
    threads: 1,
  };
  options = {
    experiment: resolvePaths(sample, path.resolve(file), { workspaceFolder: folder }, () => true),
    maxBatches: 4,
  };
});

test('each linear alone, and all at once', async () => {
  const phases: string[] = [];
  const watched = { ...options, onProgress: ({ phase }: { phase: string }) => void phases.push(phase) };
  const result = await measureSensitivity(watched, [2, 8]);
  assert.deepEqual(
    result.linears.map(({ name }) => name),
    ['gate_proj', 'up_proj', 'down_proj']
      .map((name) => `model.layers.0.mlp.${name}`)
      .concat('model.layers.5.mlp.down_proj'),
  );
  assert.ok(phases.includes('8 bits: model.layers.5.mlp.down_proj'));
  for (const { name, losses } of result.linears) {
    assert.ok(losses.get(2)! > 4 * Math.abs(losses.get(8)!), `${name}: ${JSON.stringify([...losses])}`);
  }
  // A mixture of one width is the uniform model; the float model is what is left when every loss is taken off.
  const [narrow, wide] = result.uniform;
  const all = new Map(result.linears.map(({ name }) => [name, 2]));
  assert.equal(await measureMixture(options, all), narrow!.loss);
  assert.ok(narrow!.loss > wide!.loss);
  assert.ok(Math.abs(wide!.loss - result.floatLoss) < 1e-2);
  // One linear at 2 bits and the others at 8 is nearly that linear alone.
  const [first] = result.linears;
  const mixture = new Map(result.linears.map(({ name }) => [name, name === first!.name ? 2 : 8]));
  const mixed = await measureMixture(options, mixture);
  assert.ok(Math.abs(mixed - result.floatLoss - first!.losses.get(2)!) < 1e-2);
});

test('what cannot be measured is said', async () => {
  const { experiment } = options;
  const noText = { ...experiment, data: { ...experiment.data, validation: [] } };
  await assert.rejects(measureSensitivity({ ...options, experiment: noText }, [2]), { code: 'NoText' });
  const skipped = { ...experiment.quantization, layers: [{ match: '*', skip: true }] };
  await assert.rejects(measureSensitivity({ ...options, experiment: { ...experiment, quantization: skipped } }, [2]), {
    code: 'NothingQuantized',
  });
  const abort = new AbortController();
  abort.abort();
  await assert.rejects(measureSensitivity({ ...options, signal: abort.signal }, [2]), { name: 'AbortError' });
});
