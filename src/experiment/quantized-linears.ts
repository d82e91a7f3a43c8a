// The linears that are quantized, and what each is made of: codes, scales, zero points, and the numbers that are trained.

import type { LinearQuantization } from '../../native/binding/addon';
import { LINEAR_NAMES, linearSize, type LinearName } from '../formats/model-shape';
import type { EngineLayout } from './engine-layout';

/** A linear that is quantized, with its place and size. */
export interface QuantizedLinear {
  readonly name: string;
  readonly layer: number;
  readonly linear: LinearName;
  readonly spec: LinearQuantization;
  readonly outputs: number;
  readonly inputs: number;
}

export function quantizedLinears({ shape, linears }: Pick<EngineLayout, 'shape' | 'linears'>): QuantizedLinear[] {
  return Array.from({ length: shape.layers }, (_, layer) =>
    LINEAR_NAMES.flatMap((linear): QuantizedLinear[] => {
      const name = `model.layers.${String(layer)}.${linear}`;
      const spec = linears[name];
      return spec ? [{ name, layer, linear, spec, ...linearSize(shape, linear) }] : [];
    }),
  ).flat();
}

/** Bits of one stored code of Φ0; 0 where the weight itself is trained and there is none. */
export function codeBits({ storage, bits, fractionBits }: LinearQuantization): number {
  switch (storage) {
    case 'fp32':
      return 32;
    case 'bf16':
    case 'fp16':
      return 16;
    case 'fixed-point':
      return bits + fractionBits;
    case 'integer':
      return bits;
    case 'trained':
      return 0;
  }
}

/** Bytes of one packed row of `inputs` codes: whole groups of 32 codes; float storages are plain arrays. */
export function packedRowBytes(width: number, inputs: number): number {
  return width >= 16 ? inputs * (width / 8) : Math.ceil(inputs / 32) * 4 * width;
}

/** Of a scale as it is stored beside the integers. */
export const SCALE_BITS = 32;
/** Of a zero point, likewise: a byte at every bit-width. */
export const ZERO_POINT_BITS = 8;

/** Scales of a linear: one, one an output, or one a group. */
export function scaleCount({ spec, outputs, inputs }: Pick<QuantizedLinear, 'spec' | 'outputs' | 'inputs'>): number {
  if (spec.groupSize === 0) return 1;
  return spec.groupSize < 0 ? outputs : outputs * (inputs / spec.groupSize);
}

/** Zero points of a linear: as many as scales where its grid is asymmetric. */
export function zeroPointCount(linear: QuantizedLinear): number {
  return linear.spec.symmetric === false ? scaleCount(linear) : 0;
}

/** Numbers that training changes: A, B or the weight itself, scales and zero points. */
export function trainedNumbers(linear: QuantizedLinear): number {
  const { spec, outputs, inputs } = linear;
  const scales = spec.learnScales ? scaleCount(linear) : 0;
  const weights = trainsWeights(spec) ? outputs * inputs : spec.rank * (outputs + inputs);
  return weights + scales + (trainsZeroPoints(spec) ? zeroPointCount(linear) : 0);
}

/** The weight itself is trained (LSQ). */
export function trainsWeights({ storage }: LinearQuantization): boolean {
  return storage === 'trained';
}

export function trainsZeroPoints({ symmetric, learnZeroPoints }: LinearQuantization): boolean {
  return symmetric === false && learnZeroPoints === true;
}

/** Bytes of a merged linear: codes, float32 scales, and a byte a zero point. */
export function mergedBytes(linear: QuantizedLinear): number {
  const codes = linear.outputs * packedRowBytes(linear.spec.bits, linear.inputs);
  return codes + (scaleCount(linear) * SCALE_BITS + zeroPointCount(linear) * ZERO_POINT_BITS) / 8;
}
