// The paper's recipes by name.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseExperiment } from '../../src/experiment';
import { experimentText } from '../../src/experiment/experiment-text';
import { PRESETS, presetComments } from '../../src/experiment/presets';
import { recipeDifferences } from '../../src/experiment/recipe';

test('every preset is an experiment without problems that does what the recipe says', () => {
  assert.equal(new Set(PRESETS.map(({ id }) => id)).size, PRESETS.length);
  for (const preset of PRESETS) {
    const text = experimentText({
      ...preset,
      comments: presetComments(preset),
      model: 'model',
      train: ['a.txt'],
      validation: [],
      trainHint: '',
    });
    const { experiment, problems } = parseExperiment(text, 'x.lrqat.json');
    assert.deepEqual(problems, [], preset.id);
    assert.ok(experiment);
    assert.deepEqual(recipeDifferences(experiment), [], preset.id);
    assert.match(text, new RegExp(`^// ${preset.id}: `));
    assert.match(text, /^\/\/ LLaMA-2-7B, WikiText-2 perplexity .* float 5\.47, round to nearest \d/m);
    assert.match(text, /^\/\/ Not published: /m);
  }
});
