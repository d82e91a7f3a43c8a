// Types of the functions of lrqat.node that expose single formulas of the CPU backend: for the golden tests, not for the
// product. They are synchronous. Matrices are row-major.

import type { ComputeType, LinearQuantization, RangeMethod } from './addon';

export interface RangeRequest {
  /** [rows, columns] */
  readonly weight: Float32Array;
  readonly rows: number;
  readonly columns: number;
  /** 0: one scale for the tensor; -1: one per row; g > 0: one per g consecutive columns of a row. */
  readonly groupSize: number;
  readonly method: RangeMethod;
  readonly qmin: number;
  readonly qmax: number;
  /** Added to max|x| before the candidates are formed; the product uses 0. */
  readonly margin: number;
  /** Steps of an asymmetric grid, 2^bits − 1; absent or 0: symmetric. */
  readonly levels?: number;
}

export interface RangeEstimate {
  readonly scales: Float32Array;
  /** Unrounded; 0 where the grid is symmetric. */
  readonly zeroPoints: Float32Array;
  /** Winner of the grid, 1…100; 0 for min/max. */
  readonly candidates: Int32Array;
  readonly losses: Float64Array;
}

export interface AsymmetricRange {
  readonly scale: number;
  readonly zeroPointUnrounded: number;
  readonly zeroPoint: number;
}

export interface QuantizeRequest {
  readonly weight: Float32Array;
  readonly rows: number;
  readonly columns: number;
  readonly quantization: LinearQuantization;
  /** Encode with these scales instead of searching. */
  readonly scales?: Float32Array;
  /** z0 to go with them, where the grid is asymmetric. */
  readonly zeroPoints?: Float32Array;
}

export interface QuantizedWeight {
  readonly scales: Float32Array;
  /** Unrounded; empty where the grid is symmetric. */
  readonly zeroPoints: Float32Array;
  /** Packed rows as the engine stores them. */
  readonly phi0: Uint8Array;
  /** clip(round(W/s0)) [rows, columns] (asymmetric: Q − z0), times s0 for group scales. */
  readonly roundToNearest: Float32Array;
}

export interface LinearRequest extends QuantizeRequest {
  readonly scales: Float32Array;
  /** Trained numbers behind the scales of this step (log s in the log domain). */
  readonly theta: Float32Array;
  /** Unrounded zero points of this step, where the grid is asymmetric. */
  readonly zeroTheta?: Float32Array;
  /** [rows, rank] and [rank, columns]; empty for rank 0. */
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly tokens: number;
  /** [tokens, columns] */
  readonly x: Float32Array;
  /** [tokens, rows] */
  readonly dY: Float32Array;
  readonly compute: ComputeType;
  readonly threads: number;
}

export interface LinearResult {
  readonly y: Float32Array;
  readonly yMerged: Float32Array;
  readonly dX: Float32Array;
  readonly dA: Float32Array;
  readonly dB: Float32Array;
  /** [rows, columns]; empty unless storage is 'trained'. */
  readonly dW: Float32Array;
  /** With respect to theta. */
  readonly dTheta: Float32Array;
  /** With respect to zeroTheta; empty where the grid is symmetric. */
  readonly dZeroPoints: Float32Array;
  /** Merged integers as packed offset codes; asymmetric: Q itself. */
  readonly merged: Uint8Array;
  /** 1 where the gradient passes. */
  readonly mask: Uint8Array;
}

export interface ActivationRequest {
  /** [rows, columns] */
  readonly x: Float32Array;
  readonly dY: Float32Array;
  readonly rows: number;
  readonly columns: number;
  /** Consecutive columns that share a grid. */
  readonly width: number;
  readonly bits: number;
  readonly zeroPoint: 'integer' | 'reference';
  readonly threads: number;
}

export interface ActivationResult {
  readonly y: Float32Array;
  readonly dX: Float32Array;
  /** 1 where the gradient passes. */
  readonly mask: Uint8Array;
}

export interface StaticActivationRequest {
  /** Calibration batches [any, columns], in order. */
  readonly batches: readonly Float32Array[];
  /** [rows, columns] */
  readonly x: Float32Array;
  readonly dY: Float32Array;
  readonly rows: number;
  readonly columns: number;
  readonly bits: number;
  readonly symmetric: boolean;
  readonly gradientScaling: boolean;
  readonly threads: number;
}

export interface StaticActivationResult {
  /** After each batch: smallest, largest. */
  readonly ranges: Float32Array;
  readonly scale: number;
  readonly zeroPointUnrounded: number;
  readonly zeroPoint: number;
  readonly lowest: number;
  readonly highest: number;
  readonly y: Float32Array;
  /** By the marks of the forward, and as the learned grid makes it. */
  readonly dX: Float32Array;
  readonly learnedDX: Float32Array;
  readonly dScale: number;
  readonly dZeroPoint: number;
}

export interface ProductRequest {
  readonly a: Float32Array;
  /** Rows and columns as stored. */
  readonly aShape: readonly [number, number];
  readonly transposeA: boolean;
  readonly b: Float32Array;
  readonly bShape: readonly [number, number];
  readonly transposeB: boolean;
  readonly threads: number;
}

export interface FormulasAddon {
  estimateRange(request: RangeRequest): RangeEstimate;
  asymmetricMinMax(lowest: number, highest: number, bits: number): AsymmetricRange;
  /** Range search and encoding as the engine does them when it loads. */
  quantize(request: QuantizeRequest): QuantizedWeight;
  /** One linear forward and backward through the operations of the Backend, in the decoder's order. */
  linear(request: LinearRequest): LinearResult;
  /** Activations on a grid of their own for each row and group of columns, and the gradient through it, in float32. */
  quantizeActivations(request: ActivationRequest): ActivationResult;
  /** Activations on one grid a tensor, from the running range of batches, with the gradients of its numbers, in float32. */
  staticActivations(request: StaticActivationRequest): StaticActivationResult;
  /** a·b in float32. */
  multiply(request: ProductRequest): Float32Array;
}
