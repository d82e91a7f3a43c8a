// Element types of the safetensors format and what Node has for them.

/** Bits of one element. */
const BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

export type SafetensorsDType = keyof typeof BITS;

export const SAFETENSORS_DTYPES = Object.keys(BITS) as readonly SafetensorsDType[];

export function isSafetensorsDType(value: unknown): value is SafetensorsDType {
  return typeof value === 'string' && Object.hasOwn(BITS, value);
}

export function bitsOf(dtype: SafetensorsDType): number {
  return BITS[dtype];
}

/** Bytes of one element; 1 for those smaller than a byte. What a tensor's first byte should be a multiple of. */
export function alignmentOf(dtype: SafetensorsDType): number {
  return Math.max(1, BITS[dtype] / 8);
}

/** Bytes of a dense tensor; null: not a whole number of bytes, or past what a double counts exactly. */
export function byteSize(dtype: SafetensorsDType, shape: readonly number[]): number | null {
  let bits: number = BITS[dtype];
  // A zero anywhere makes the tensor empty, however large the other sizes are.
  if (shape.includes(0)) return 0;
  for (const size of shape) {
    bits *= size;
    if (!Number.isSafeInteger(bits)) return null;
  }
  return bits % 8 === 0 ? bits / 8 : null;
}

/** Array type that holds a dtype's elements as they lie in the file; those that JavaScript cannot compute with as raw units
 *  (16-bit floats in Uint16Array, smaller ones and C64 in Uint8Array). */
interface ArrayTypes {
  BOOL: Uint8Array;
  F4: Uint8Array;
  F6_E2M3: Uint8Array;
  F6_E3M2: Uint8Array;
  U8: Uint8Array;
  I8: Int8Array;
  F8_E5M2: Uint8Array;
  F8_E4M3: Uint8Array;
  F8_E8M0: Uint8Array;
  F8_E4M3FNUZ: Uint8Array;
  F8_E5M2FNUZ: Uint8Array;
  I16: Int16Array;
  U16: Uint16Array;
  F16: Uint16Array;
  BF16: Uint16Array;
  I32: Int32Array;
  U32: Uint32Array;
  F32: Float32Array;
  C64: Uint8Array;
  F64: Float64Array;
  I64: BigInt64Array;
  U64: BigUint64Array;
}
export type TensorArray<D extends SafetensorsDType = SafetensorsDType> = ArrayTypes[D];

type Constructors = { readonly [D in SafetensorsDType]: new (buffer: ArrayBuffer) => ArrayTypes[D] };

const ARRAYS: Constructors = {
  BOOL: Uint8Array,
  F4: Uint8Array,
  F6_E2M3: Uint8Array,
  F6_E3M2: Uint8Array,
  U8: Uint8Array,
  I8: Int8Array,
  F8_E5M2: Uint8Array,
  F8_E4M3: Uint8Array,
  F8_E8M0: Uint8Array,
  F8_E4M3FNUZ: Uint8Array,
  F8_E5M2FNUZ: Uint8Array,
  I16: Int16Array,
  U16: Uint16Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I32: Int32Array,
  U32: Uint32Array,
  F32: Float32Array,
  C64: Uint8Array,
  F64: Float64Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
};

/** A view of `buffer` (little-endian, as in the file) as elements of `dtype`. */
export function arrayOf<D extends SafetensorsDType>(dtype: D, buffer: ArrayBuffer): TensorArray<D> {
  return new ARRAYS[dtype](buffer);
}
