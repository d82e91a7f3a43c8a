import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sensitivityReport, shadeOf } from '../../src/cli/sensitivity-report';
import { themed } from '../../src/editor/commands/sensitivity-page';

const linear = (name: string, loss: number) => ({
  name,
  ...{ weights: 4096, outputs: 64, inputs: 64 },
  bitsPerWeight: new Map([[2, 2.1]]),
  losses: new Map([[2, loss]]),
});

const page = sensitivityReport(
  {
    modelFolder: '/model',
    compute: 'float32',
    ...{ sequenceLength: 64, tokens: 640, floatLoss: 3, seconds: 1 },
    uniform: [{ bits: 2, bitsPerWeight: 2.1, loss: 3.5 }],
    linears: [
      linear('model.layers.0.self_attn.q_proj', 0.01),
      linear('model.layers.0.mlp.down_proj', Infinity),
      linear('model.layers.1.self_attn.q_proj', -0.00001),
    ],
  } as unknown as Parameters<typeof sensitivityReport>[0],
  null,
  { title: 'Sensitivity of <w2>', time: 0, version: '1.2.3' },
);

void test('the map has a row a block, a dash for what is not quantized, and texts that cannot become elements', () => {
  assert.match(page, /<h1>Sensitivity of &lt;w2&gt;<\/h1>/);
  assert.match(page, /<th scope="row">0<\/th><td class="h10">1\.01<\/td>(<td>–<\/td>){5}<td class="h10">∞<\/td>/);
  assert.match(page, /<th scope="row">1<\/th><td class="h0">0\.00<\/td>/);
});

void test('shades are steps of a quarter of an order of magnitude', () => {
  assert.deepEqual(
    [1, 0.57, 0.1, 0.01, 0.0001, 0, -1, Number.NaN].map((loss) => shadeOf(loss, 1)),
    [10, 10, 6, 2, 0, 0, 0, 10],
  );
  assert.equal(shadeOf(0, 0), 0);
});

void test('in the editor it has the theme’s colours and a policy that allows its own style sheet alone', () => {
  const shown = themed(page, 'abc');
  assert.match(shown, /content="default-src 'none'; style-src 'nonce-abc'"/);
  assert.match(shown, /<style nonce="abc">/);
  assert.match(shown, /--hot: var\(--vscode-charts-orange\)/);
  assert.doesNotMatch(shown, /unsafe-inline|<script|style="/);
});
