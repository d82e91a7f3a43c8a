// A few whole rows of a linear's weight, read from the checkpoint: enough for a picture, little whatever the model's size.
import { UserError } from '../../errors';
import type { WeightSample } from '../../experiment/weight-grid';
import { bf16ToFloat32, fp16ToFloat32 } from '../../formats/half';
import type { TensorSource } from '../../formats/model-shape';
import { openModel } from '../../formats/hugging-face-model';
import { SafetensorsFile } from '../../formats/safetensors-file';

/** Weights of a sample, about. */
const WEIGHTS = 16_384;
const MOST_ROWS = 32;

/** @throws UserError when the model has no such linear or cannot be read */
export async function sampleWeights(folder: string, linear: string): Promise<WeightSample> {
  const { tensors } = await openModel(folder, { tokenizer: false });
  const tensor = tensors.find(({ name }) => name === `${linear}.weight`);
  const [height, columns] = tensor?.shape ?? [];
  if (tensor === undefined || height === undefined || columns === undefined) {
    throw new UserError('TensorMissing', `${folder}: has no linear ${linear}`);
  }
  const rows = Math.min(height, MOST_ROWS, Math.max(1, Math.floor(WEIGHTS / columns)));
  const values = new Float32Array(rows * columns);
  const file = await SafetensorsFile.open(tensor.file);
  try {
    for (let index = 0; index < rows; index++) {
      // In the middle of equal parts.
      const row = Math.floor(((index + 0.5) * height) / rows);
      values.set(await readRow(file, tensor, row, columns), index * columns);
    }
  } finally {
    await file.close();
  }
  return { rows, columns, values };
}

async function readRow(
  file: SafetensorsFile,
  { name, dtype }: TensorSource,
  row: number,
  columns: number,
): Promise<Float32Array> {
  const width = columns * (dtype === 'F32' ? 4 : 2);
  const bytes = await file.readBytes(name, row * width, (row + 1) * width);
  // A copy begins at 0, as views of more than a byte ask.
  const { buffer } = new Uint8Array(bytes);
  if (dtype === 'F32') return new Float32Array(buffer);
  return dtype === 'BF16' ? bf16ToFloat32(new Uint16Array(buffer)) : fp16ToFloat32(new Uint16Array(buffer));
}
