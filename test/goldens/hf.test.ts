// Logits, loss and gradients of small Hugging Face models against the decoder with float weights. Accepted differences are
// those of the goldens' README: logits 2e-4 absolute, loss 5e-6 and gradients 5e-5 relative (a float64 decoder differs from
// these float32 numbers by 2.5e-5, 4e-7 and 3.4e-6).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ModelShape, RopeScaling } from '../../src/formats/model-shape';
import { difference, goldenConfig, openAddon, shiftedTargets, TemporaryFolder, writeCheckpoint } from './engine-runs';
import { GoldenTensors, readGoldenIndex } from './golden-files';

interface HfConfig {
  model_type: 'llama' | 'mistral';
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  vocab_size: number;
  max_position_embeddings: number;
  rms_norm_eps: number;
  attention_bias?: boolean;
  mlp_bias?: boolean;
  sliding_window?: number | null;
  tie_word_embeddings: boolean;
  rope_parameters: Record<string, number | string>;
}

interface HfModel {
  name: string;
  config: HfConfig;
  loss: number;
  gradients: string[];
  stored_parameters: string[];
}

function ropeScaling(rope: Record<string, number | string>): RopeScaling {
  if (rope['rope_type'] !== 'llama3') return { type: 'none' };
  return {
    type: 'llama3',
    factor: Number(rope['factor']),
    lowFrequencyFactor: Number(rope['low_freq_factor']),
    highFrequencyFactor: Number(rope['high_freq_factor']),
    originalMaxPositions: Number(rope['original_max_position_embeddings']),
  };
}

/** Read by hand, so that this test does not lean on the product's reader of config.json. */
function shapeOf(c: HfConfig): ModelShape {
  return {
    architecture: c.model_type,
    hiddenSize: c.hidden_size,
    intermediateSize: c.intermediate_size,
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    kvHeads: c.num_key_value_heads,
    headDim: c.head_dim,
    vocabSize: c.vocab_size,
    maxPositions: c.max_position_embeddings,
    rmsNormEpsilon: c.rms_norm_eps,
    ropeTheta: Number(c.rope_parameters['rope_theta']),
    ropeScaling: ropeScaling(c.rope_parameters),
    slidingWindow: c.sliding_window ?? null,
    qkvBias: c.attention_bias ?? false,
    outputBias: c.attention_bias ?? false,
    mlpBias: c.mlp_bias ?? false,
    qkNorm: false,
    tiedEmbeddings: c.tie_word_embeddings,
  };
}

const index = readGoldenIndex<{ file: string; models: HfModel[] }>('hf', 'hf_index.json');
if (!index) test('Hugging Face goldens', { skip: 'this golden folder has no hf/' });

for (const model of index?.models ?? []) {
  for (const checkpointing of ['none', 'block'] as const) {
    test(`${model.name}, checkpointing ${checkpointing}: logits, loss and gradients`, async () => {
      using folder = new TemporaryFolder();
      const goldens = new GoldenTensors('hf', index?.file ?? '');
      const parameters = model.stored_parameters.map((name) => ({
        name,
        shape: goldens.get(`${model.name}/${name}`).shape,
        data: goldens.floats(`${model.name}/${name}`),
      }));
      const ids = goldens.get(`${model.name}/input_ids`);
      const [sequences = 0, length = 0] = ids.shape;
      const tokens = goldens.ints(`${model.name}/input_ids`);
      const batch = { tokens, targets: shiftedTargets(tokens, length) };
      const addon = openAddon();
      const engine = new addon.Engine(
        goldenConfig(shapeOf(model.config), writeCheckpoint(folder.path, parameters), { sequences, length }, null, {
          activationCheckpointing: checkpointing,
        }),
      );
      await engine.load();

      const logits = await engine.logits(batch, 'float');
      assert.ok(difference(logits, goldens.floats(`${model.name}/logits`)).absolute < 2e-4);
      const { lossSum, tokens: predicted } = await engine.evaluate(batch, 'float');
      assert.equal(predicted, sequences * (length - 1));
      assert.ok(Math.abs(lossSum / predicted - model.loss) < 5e-6 * model.loss);
      const gradients = await engine.parameterGradients(batch);
      for (const name of model.gradients) {
        const gradient = gradients[name];
        assert.ok(gradient, `no gradient of ${name}`);
        const { relative } = difference(gradient, goldens.floats(`${model.name}/grad.${name}`));
        assert.ok(relative < 5e-5, `${name}: gradient off by ${String(relative)}`);
      }
      await engine.close();
    });
  }
}
