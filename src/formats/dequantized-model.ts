// A Hugging Face folder with ordinary float weights Ŵ = s ∘ Q: what every program reads, at the size of the original.
import { floatParameter, TORCH_NAMES, type FolderContents, type FolderTensor } from './folder-export';
import { dequantized, productLoss, quantizedWeight, type MergedModel } from './merged-model';
import type { WeightDType } from './model-shape';
import { isExact } from './tensor-export';

/** @param type of all tensors; null: the smallest in which nothing is lost, the model's own first */
export async function planDequantized(model: MergedModel, type: WeightDType | null): Promise<FolderContents> {
  if (type !== null) return contents(model, type);
  const own = model.tensors[0]?.dtype === 'F16' ? (['F16', 'BF16'] as const) : (['BF16', 'F16'] as const);
  for (const candidate of own) {
    const planned = await contents(model, candidate);
    if (isExact(planned.exports)) return planned;
  }
  return contents(model, 'F32');
}

async function contents(model: MergedModel, type: WeightDType): Promise<FolderContents> {
  const all: FolderTensor[] = [];
  for (const source of model.tensors) {
    const linear = quantizedWeight(model, source);
    if (linear === null) {
      all.push(await floatParameter(source, type));
      continue;
    }
    const half = type === 'F16' ? 'fp16' : 'bf16';
    all.push({
      tensors: [{ name: source.name, dtype: type, shape: source.shape, data: () => dequantized(linear, type) }],
      exported: {
        name: source.name,
        stored: type,
        bytes: linear.outputs * linear.inputs * (type === 'F32' ? 4 : 2),
        loss: type === 'F32' ? null : await productLoss(linear, half),
      },
    });
  }
  return {
    obstacle: null,
    tensors: all.flatMap(({ tensors }) => tensors),
    exports: all.map(({ exported }) => exported),
    config: { torch_dtype: TORCH_NAMES[type] },
    warnings: [],
  };
}
