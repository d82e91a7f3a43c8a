// File formats: safetensors, Hugging Face folders and cache, tokenizers, corpora.
export * from './atomic-file';
export * from './file-hash';
export * from './file-system';
export * from './half';
export * from './hugging-face-model';
export { parseModelConfig, type ModelConfig } from './model-config';
export { modelParameters, parameterCount, type ParameterShape } from './model-parameters';
export { resolveModelPath, type ResolveOptions } from './model-path';
export * from './model-shape';
export {
  alignmentOf,
  byteSize,
  isSafetensorsDType,
  SAFETENSORS_DTYPES,
  type SafetensorsDType,
  type TensorArray,
} from './safetensors-dtype';
export { readHeader, readTensor, SafetensorsFile } from './safetensors-file';
export { type SafetensorsHeader, type SafetensorsTensor } from './safetensors-header';
export {
  writeSafetensors,
  type TensorData,
  type TensorToWrite,
  type WriteSafetensorsOptions,
} from './safetensors-writer';
export * from './text';
