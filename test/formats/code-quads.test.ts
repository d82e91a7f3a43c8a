// Repacking codes four at a time against the plain definition, bit by bit.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { joinNibbles, joinQuad, packedWords, quadsPerRow, unpackQuads } from '../../src/formats/code-quads';
import { bf16Bits, fitsHalf, float32ToBf16, float32ToFp16, fp16Bits, fp16Value } from '../../src/formats/half';
import { wordRows, wordsPerRow } from '../../src/formats/packed-words';
import { packedRowBytes } from '../../src/formats/quantized-tensor';
import { randomTensor } from './merged-models';
import { generator } from './support';

const codeAt = (bytes: Uint8Array, row: number, column: number, bits: number): number => {
  let code = 0;
  for (let bit = 0; bit < bits; bit++) {
    const at = 8 * row + column * bits + bit;
    code |= ((bytes[at >> 3]! >> (at & 7)) & 1) << bit;
  }
  return code;
};

for (const bits of [2, 3, 4, 5, 6, 7, 8]) {
  test(`${String(bits)} bits: rows of any width as words of four codes, and as words of other widths`, async () => {
    const below = generator(bits);
    for (const inputs of [4, 31, 32, 36, 66, 96, 173, 256]) {
      const tensor = randomTensor('l', { outputs: 3, inputs }, { bits, groupSize: -1, scales: 'fp16' }, below);
      const codes = await tensor.codes();
      const rowBytes = packedRowBytes(bits, inputs);
      // From an odd place in memory as well.
      const moved = new Uint8Array(codes.length + 1);
      moved.set(codes, 1);
      const quads = new Uint32Array(quadsPerRow(inputs));
      const bytes = new Uint8Array(quads.buffer);
      const shift = 128 - 2 ** (bits - 1);
      for (let row = 0; row < 3; row++) {
        unpackQuads(packedWords(moved.subarray(1)), (row * rowBytes) / 4, bits, shift, quads);
        for (let k = 0; k < inputs; k++) assert.equal(bytes[k], codeAt(codes, row * rowBytes, k, bits) + shift);
      }
      for (const width of [bits, Math.min(bits + 1, 8), 8]) {
        const words = await wordRows(tensor, width);
        const perRow = wordsPerRow(width, inputs);
        assert.equal(words.length, 3 * perRow);
        const joined = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
        const more = 2 ** (width - 1) - 2 ** (bits - 1);
        for (let row = 0; row < 3; row++) {
          for (let k = 0; k < inputs; k++) {
            assert.equal(codeAt(joined, 4 * row * perRow, k, width), codeAt(codes, row * rowBytes, k, bits) + more);
          }
          // Nothing behind the last code.
          for (let bit = inputs * width; bit < 32 * perRow; bit++) {
            assert.equal((joined[4 * row * perRow + (bit >> 3)]! >> (bit & 7)) & 1, 0);
          }
        }
      }
    }
  });
}

test('four bytes side by side', () => {
  for (const bits of [2, 3, 4, 5, 6, 7]) {
    const codes = [1, 2 ** bits - 1, 0, 2 ** (bits - 1)];
    const quad = codes.reduce((word, code, i) => word | (code << (8 * i)), 0);
    const joined = codes.reduce((word, code, i) => word | (code << (bits * i)), 0);
    assert.equal(joinQuad(quad, bits), joined);
    if (bits === 4) assert.equal(joinNibbles(quad), joined);
  }
});

test('every number of half precision and bfloat16 is read, written and recognized as itself', () => {
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const sign = bits & 0x8000 ? -1 : 1;
    const value = exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
    if (exponent < 31) {
      assert.equal(fp16Value(bits), value);
      assert.equal(fp16Bits(value), bits);
      assert.ok(fitsHalf(value, 'fp16'));
      // Half a step away it is not.
      const between = value + sign * 2 ** (Math.max(exponent, 1) - 26);
      assert.ok(!fitsHalf(between, 'fp16'));
      assert.equal(float32ToFp16(Float32Array.of(between))[0], bits + (bits & 1));
    } else {
      assert.equal(fp16Value(bits), fraction > 0 ? NaN : sign * Infinity);
    }
    const wide = new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;
    if (Number.isNaN(wide)) continue;
    assert.equal(bf16Bits(wide), bits);
    assert.equal(float32ToBf16(Float32Array.of(wide))[0], bits);
    assert.ok(fitsHalf(wide, 'bf16'));
  }
});
