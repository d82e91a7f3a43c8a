// Packed codes of a row as words of four bytes, a code in each: the form in which all formats repack them, four at a time.

/** Packed rows as 32-bit words; every row begins at one. */
export function packedWords(codes: Uint8Array): Uint32Array {
  const aligned = codes.byteOffset % 4 === 0 ? codes : codes.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length >> 2);
}

/** Words of four codes that a row of this width has. */
export function quadsPerRow(inputs: number): number {
  return Math.ceil(inputs / 4);
}

/** Reads the row that begins at word `begin`: byte j of `into[k]` is code 4k + j plus `shift`. What follows the last code of the
 *  row is the padding plus `shift`. */
export function unpackQuads(words: Uint32Array, begin: number, bits: number, shift: number, into: Uint32Array): void {
  const shifts = Math.imul(shift, 0x01010101);
  if (bits === 2) unpack2(words, begin, shifts, into);
  else if (bits === 3) unpack3(words, begin, shifts, into);
  else if (bits === 4) unpack4(words, begin, shifts, into);
  else if (bits === 8) for (let k = 0; k < into.length; k++) into[k] = (words[begin + k] ?? 0) + shifts;
  else unpackAny(words, begin, bits, shifts, into);
}

function unpack2(words: Uint32Array, begin: number, shifts: number, into: Uint32Array): void {
  for (let k = 0, at = begin; k < into.length; k += 4, at++) {
    const word = words[at] ?? 0;
    into[k] = spread2(word & 0xff) + shifts;
    into[k + 1] = spread2((word >>> 8) & 0xff) + shifts;
    into[k + 2] = spread2((word >>> 16) & 0xff) + shifts;
    into[k + 3] = spread2(word >>> 24) + shifts;
  }
}

function unpack4(words: Uint32Array, begin: number, shifts: number, into: Uint32Array): void {
  for (let k = 0, at = begin; k < into.length; k += 2, at++) {
    const word = words[at] ?? 0;
    into[k] = spread4(word & 0xffff) + shifts;
    into[k + 1] = spread4(word >>> 16) + shifts;
  }
}

/** Eight words of four at a time, from three words; of the last ones those that `into` has. */
function unpack3(words: Uint32Array, begin: number, shifts: number, into: Uint32Array): void {
  for (let k = 0, at = begin; k < into.length; k += 8, at += 3) {
    const a = words[at] ?? 0;
    const b = words[at + 1] ?? 0;
    const c = words[at + 2] ?? 0;
    into[k] = spread3(a & 0xfff) + shifts;
    into[k + 1] = spread3((a >>> 12) & 0xfff) + shifts;
    into[k + 2] = spread3((a >>> 24) | ((b & 15) << 8)) + shifts;
    into[k + 3] = spread3((b >>> 4) & 0xfff) + shifts;
    into[k + 4] = spread3((b >>> 16) & 0xfff) + shifts;
    into[k + 5] = spread3((b >>> 28) | ((c & 0xff) << 4)) + shifts;
    into[k + 6] = spread3((c >>> 8) & 0xfff) + shifts;
    into[k + 7] = spread3(c >>> 20) + shifts;
  }
}

function unpackAny(words: Uint32Array, begin: number, bits: number, shifts: number, into: Uint32Array): void {
  const pair = (1 << (2 * bits)) - 1;
  const first = Math.imul((1 << bits) - 1, 0x00010001);
  const apart = 8 - bits;
  const four = 4 * bits;
  for (let k = 0, at = begin, offset = 0; k < into.length; k++) {
    let code = (words[at] ?? 0) >>> offset;
    offset += four;
    if (offset >= 32) {
      at++;
      offset -= 32;
      // What lies in the next word; a shift by 32 would be one by 0.
      if (offset > 0) code |= (words[at] ?? 0) << (four - offset);
    }
    const pairs = (code & pair) | (((code >>> (2 * bits)) & pair) << 16);
    into[k] = ((pairs & first) | ((pairs & (first << bits)) << apart)) + shifts;
  }
}

/** Four codes of 2 bits, each into a byte of its own. */
function spread2(byte: number): number {
  const pairs = (byte | (byte << 12)) & 0x000f000f;
  return (pairs | (pairs << 6)) & 0x03030303;
}

/** Four codes of 3 bits, each into a byte of its own. */
function spread3(codes: number): number {
  const pairs = (codes | (codes << 10)) & 0x003f003f;
  return (pairs | (pairs << 5)) & 0x07070707;
}

/** Four codes of 4 bits, each into a byte of its own. */
export function spread4(nibbles: number): number {
  const pairs = (nibbles | (nibbles << 8)) & 0x00ff00ff;
  return (pairs | (pairs << 4)) & 0x0f0f0f0f;
}

/** Four bytes of `bits` bits each, side by side in the lowest bits. */
export function joinQuad(quad: number, bits: number): number {
  const first = Math.imul((1 << bits) - 1, 0x00010001);
  const pairs = (quad & first) | ((quad >>> (8 - bits)) & (first << bits));
  return (pairs & 0xffff) | ((pairs >>> 16) << (2 * bits));
}

/** {@link joinQuad} of 4 bits. */
export function joinNibbles(quad: number): number {
  const pairs = (quad | (quad >>> 4)) & 0x00ff00ff;
  return (pairs | (pairs >>> 8)) & 0xffff;
}
