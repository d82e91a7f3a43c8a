// Damaged descriptions, by the thousand and the same on every run: whatever the bytes are, the outcome is a checked result or a
// UserError with a short message. An exception of any other kind, or a header accepted whose tensors do not cover the file, fails.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../../src/errors';
import { parseModelConfig, modelParameters } from '../../src/formats';
import { byteSize } from '../../src/formats/safetensors-dtype';
import {
  LENGTH_BYTES,
  parseHeader,
  parseHeaderLength,
  type SafetensorsHeader,
} from '../../src/formats/safetensors-header';
import { generator, LLAMA, rawSafetensors } from './support';

type Below = (below: number) => number;

const ROUNDS = 20_000;

/** Reads a file image as SafetensorsFile does. */
function parse(file: Buffer): SafetensorsHeader {
  const length = parseHeaderLength(file.subarray(0, LENGTH_BYTES), file.length, 'fuzz');
  return parseHeader(file.subarray(LENGTH_BYTES, LENGTH_BYTES + length), file.length, 'fuzz');
}

/** What the rest of the program relies on, checked without the parser's help. */
function assertCovers(header: SafetensorsHeader, fileBytes: number): void {
  const owner = new Uint8Array(fileBytes);
  for (const { name, dtype, shape, offset, bytes } of header.tensors.values()) {
    assert.ok(Number.isSafeInteger(offset) && offset >= header.dataOffset && offset + bytes <= fileBytes, name);
    assert.equal(byteSize(dtype, shape), bytes);
    for (let at = offset; at < offset + bytes; at++) owner[at]!++;
  }
  assert.ok(owner.subarray(header.dataOffset).every((count) => count === 1));
}

/** Runs `body`; true where it succeeded. */
function survives(body: () => void, what: () => string): boolean {
  try {
    body();
    return true;
  } catch (error) {
    if (!(error instanceof UserError)) throw new Error(`${what()} gave ${String(error)}`, { cause: error });
    assert.ok(error.message.length < 6000, `message of ${String(error.message.length)} characters`);
    return false;
  }
}

const HEADER = {
  __metadata__: { format: 'pt' },
  a: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] },
  b: { dtype: 'BF16', shape: [3], data_offsets: [16, 22] },
  c: { dtype: 'U8', shape: [], data_offsets: [22, 23] },
  d: { dtype: 'I64', shape: [0, 9], data_offsets: [23, 23] },
};
const VALID = rawSafetensors(HEADER, 23);

test('bytes of a safetensors file changed, removed, added, moved', () => {
  const below = generator(1);
  let accepted = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const file = mutateBytes(VALID, below);
    const good = survives(
      () => assertCovers(parse(file), file.length),
      () => file.toString('latin1'),
    );
    if (good) accepted++;
  }
  // Changes of a name or of the data leave a valid file: both outcomes must occur, or the test tests nothing.
  assert.ok(accepted > 100 && accepted < ROUNDS / 2, `${String(accepted)} accepted`);
});

/** Values with which parsers are caught out. */
const ODD: readonly unknown[] = [
  ...[null, true, false, '', 'F32', 'F4', '\u0000', '__proto__', 'x'.repeat(300), [], {}, [[]], [null], ['1']],
  ...[0, -0, 1, -1, 0.5, 3, 4, 16, 22, 23, 24, 1e300, -1e300, 2 ** 22, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 64],
  ...[
    [0, 16],
    [16, 0],
    [0, 0],
    [22, 23],
    [2 ** 52, 2],
    [0, 2 ** 60],
    { dtype: 'U8', shape: [0], data_offsets: [0, 0] },
  ],
];

test('values of a safetensors header replaced', () => {
  const below = generator(2);
  let accepted = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const header = mutateValue(HEADER, below, 1 + below(3));
    const file = rawSafetensors(JSON.stringify(header), below(10) === 0 ? below(40) : 23);
    const good = survives(
      () => assertCovers(parse(file), file.length),
      () => JSON.stringify(header),
    );
    if (good) accepted++;
  }
  assert.ok(accepted > 20 && accepted < ROUNDS / 2, `${String(accepted)} accepted`);
});

const CONFIG = {
  ...LLAMA,
  head_dim: 4,
  rope_parameters: {
    rope_type: 'llama3',
    rope_theta: 5e5,
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 32,
  },
  tie_word_embeddings: false,
  attention_bias: false,
  sliding_window: null,
  layer_types: ['full_attention', 'full_attention'],
};

test('values of a config replaced, in every architecture', () => {
  const below = generator(3);
  let accepted = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const [architecture, type] = pick(
      [
        ['LlamaForCausalLM', 'llama'],
        ['MistralForCausalLM', 'mistral'],
        ['Qwen2ForCausalLM', 'qwen2'],
        ['Qwen3ForCausalLM', 'qwen3'],
      ] as const,
      below,
    );
    const { layer_types: _, ...mistral } = CONFIG;
    const base = { ...(type === 'mistral' ? mistral : CONFIG), architectures: [architecture], model_type: type };
    const config = mutateValue(base, below, 1 + below(2));
    const good = survives(
      () => {
        const { shape } = parseModelConfig(config, 'config.json');
        // Every product of sizes must be a number that can be counted with.
        if (shape.layers > 64) return;
        for (const parameter of modelParameters(shape)) {
          assert.ok(parameter.shape.every((size) => Number.isSafeInteger(size) && size > 0));
          assert.ok(Number.isSafeInteger(parameter.shape.reduce((a, b) => a * b, 4)));
        }
      },
      () => JSON.stringify(config),
    );
    if (good) accepted++;
  }
  assert.ok(accepted > 1000 && accepted < (ROUNDS * 9) / 10, `${String(accepted)} accepted`);
});

function pick<Item>(items: readonly Item[], below: Below): Item {
  return items[below(items.length)]!;
}

function mutateBytes(bytes: Buffer, below: Below): Buffer {
  let file = Buffer.from(bytes);
  for (let times = 1 + below(3); times > 0; times--) {
    const at = below(Math.max(1, file.length));
    const span = 1 + below(8);
    switch (below(7)) {
      case 0:
        file[at] = below(256);
        break;
      case 1:
        file[at]! ^= 1 << below(8);
        break;
      case 2:
        file = file.subarray(0, at);
        break;
      case 3:
        file = Buffer.concat([file.subarray(0, at), file.subarray(at + span)]);
        break;
      case 4:
        file = Buffer.concat([
          file.subarray(0, at),
          Buffer.alloc(span, pick(['0', '9', '{', ' ', '"', '['], below)),
          file.subarray(at),
        ]);
        break;
      case 5:
        file = Buffer.concat([file.subarray(0, at), file.subarray(below(file.length), file.length)]);
        break;
      default: {
        // A digit for a digit: the most dangerous change, because all is still JSON.
        const digits = [...file.keys()].filter((index) => index > 7 && file[index]! >= 0x30 && file[index]! <= 0x39);
        if (digits.length > 0) file[pick(digits, below)] = 0x30 + below(10);
      }
    }
  }
  return file;
}

/** A copy with some values, at any depth, replaced, removed or renamed. */
function mutateValue(value: unknown, below: Below, times: number): unknown {
  const copy = structuredClone(value);
  for (; times > 0; times--) {
    let target = copy as Record<string, unknown>;
    for (;;) {
      const keys = Object.keys(target);
      if (keys.length === 0) break;
      const key = pick(keys, below);
      const child = target[key];
      if (typeof child === 'object' && child !== null && below(4) > 0) {
        target = child as Record<string, unknown>;
        continue;
      }
      const action = below(10);
      if (action === 0) Reflect.deleteProperty(target, key);
      else if (action === 1 && !Array.isArray(target))
        target[pick(['x', 'dtype', 'num_experts', 'rope_scaling', 'e'], below)] = child;
      else target[key] = structuredClone(pick(ODD, below));
      break;
    }
  }
  return copy;
}
