// 16-bit floats as raw bits and float32 numbers.

/** bfloat16 is the upper half of a float32. */
export function bf16ToFloat32(bits: Uint16Array): Float32Array {
  const wide = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = (bits[i] ?? 0) << 16;
  return new Float32Array(wide.buffer);
}

/** IEEE 754 binary16. Exact; NaNs stay NaNs. */
export function fp16ToFloat32(bits: Uint16Array): Float32Array {
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) values[i] = fp16Value(bits[i] ?? 0);
  return values;
}

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** Bits of the nearest float32. */
function bitsOfFloat(value: number): number {
  scratch[0] = value;
  return scratchBits[0] ?? 0;
}

function floatOfBits(word: number): number {
  scratchBits[0] = word;
  return scratch[0] ?? 0;
}

/** The number that binary16 bits stand for. */
export function fp16Value(bits: number): number {
  const exponent = bits & 0x7c00;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return (bits & 0x8000 ? -1 : 1) * fraction * 2 ** -24;
  if (exponent === 0x7c00) return fraction !== 0 ? NaN : bits & 0x8000 ? -Infinity : Infinity;
  // 13 bits of fraction more, and an exponent's bias of 127 instead of 15.
  return floatOfBits(((bits & 0x8000) << 16) | (((bits & 0x7fff) << 13) + 0x38000000));
}

/** Bits of the nearest IEEE 754 binary16 of a float32, ties to even; infinite above 65504 + half a step. NaNs become quiet. */
export function fp16Bits(value: number): number {
  return roundedToFp16(bitsOfFloat(value));
}

/** The same from the bits of a float32. */
function roundedToFp16(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  // 65520, half a step above the largest finite number, is the first that rounds to infinity.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    // Normal: 13 bits of fraction go, the exponent's bias changes from 127 to 15. A carry moves into the exponent as it should.
    const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
    return sign | ((rounded - 0x38000000) >>> 13);
  }
  // Subnormal: a multiple of 2^-24. Adding 2^23 · 2^-24 makes the float32 adder round to that multiple, ties to even.
  return sign | (bitsOfFloat(floatOfBits(magnitude) + 0.5) - 0x3f000000);
}

/** Rounds to the nearest binary16, ties to even. */
export function float32ToFp16(values: Float32Array): Uint16Array {
  const wide = float32Bits(values);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) bits[i] = roundedToFp16(wide[i] ?? 0);
  return bits;
}

/** Whether a float32 has the same value in binary16 (`fp16`) or bfloat16 (`bf16`). NaNs never do. */
export function fitsHalf(value: number, type: 'fp16' | 'bf16'): boolean {
  return bitsFitHalf(bitsOfFloat(value), type);
}

/** {@link fitsHalf} of the bits of a float32. */
export function bitsFitHalf(word: number, type: 'fp16' | 'bf16'): boolean {
  const magnitude = word & 0x7fffffff;
  if (type === 'bf16') return magnitude <= 0x7f800000 && (word & 0xffff) === 0;
  // Between the smallest and the largest normal number nothing but 13 bits of fraction can be lost.
  if (magnitude >= 0x38800000 && magnitude <= 0x477fe000) return (word & 0x1fff) === 0;
  return fp16Value(roundedToFp16(word)) === floatOfBits(word);
}

/** Bits of float32 numbers, in place. */
export function float32Bits(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

/** Bits of the nearest bfloat16 of a float32, ties to even. NaNs become quiet NaNs of the same sign. */
export function bf16Bits(value: number): number {
  return roundedToBf16(bitsOfFloat(value));
}

/** Rounds to the nearest bfloat16 as {@link bf16Bits}. */
export function float32ToBf16(values: Float32Array): Uint16Array {
  const wide = float32Bits(values);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) bits[i] = roundedToBf16(wide[i] ?? 0);
  return bits;
}

function roundedToBf16(word: number): number {
  // Without this a NaN whose set bits are all in the lower half would round to infinity.
  const isNan = (word & 0x7fffffff) > 0x7f800000;
  return isNan ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}
