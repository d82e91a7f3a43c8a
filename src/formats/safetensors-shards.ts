// Dividing the tensors of a model over several files.
import { byteSize } from './safetensors-dtype';
import type { TensorToWrite } from './safetensors-writer';

export function tensorBytes({ dtype, shape }: Pick<TensorToWrite, 'dtype' | 'shape'>): number {
  return byteSize(dtype, shape) ?? 0;
}

/** Neighbours together, each file as full as `limit` bytes allow; a larger tensor has a file of its own. At least one file. */
export function shardsOf<T extends Pick<TensorToWrite, 'dtype' | 'shape'>>(
  tensors: readonly T[],
  limit: number,
): readonly (readonly T[])[] {
  const shards: T[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    const size = tensorBytes(tensor);
    if (bytes > 0 && bytes + size > limit) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)?.push(tensor);
    bytes += size;
  }
  return shards;
}
