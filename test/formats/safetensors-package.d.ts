// The npm package `safetensors` has no types of its own.
declare module 'safetensors' {
  export class SafeTensor {
    constructor(bytes: Uint8Array);
    readonly metadata: ReadonlyMap<string, { readonly dtype: string; readonly shape: readonly number[] }>;
    getTensor(name: string): Uint8Array;
  }
}
