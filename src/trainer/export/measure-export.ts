// What an export that rounds does to perplexity, measured before it is written: the run's merged weights against those that a reader
// of the export decodes, on the run's own validation text.
import type { Engine, LinearQuantization } from '../../../native/binding/addon';
import { UserError } from '../../errors';
import { resolveActivations } from '../../experiment';
import { readHeader, writeSafetensors, type TensorToWrite } from '../../formats';
import { bf16ToFloat32, float32ToBf16, float32ToFp16, fp16ToFloat32 } from '../../formats/half';
import { dequantized, parameter } from '../../formats/merged-model';
import type { TensorSource, WeightDType } from '../../formats/model-shape';
import { packedRowBytes, type QuantizedTensor } from '../../formats/quantized-tensor';
import { tensorBytes } from '../../formats/safetensors-shards';
import type { Loss } from '../../formats/tensor-export';
import { tokenizeCorpus } from '../../formats/tokenize-corpus';
import { openTokenizer } from '../../formats/tokenizer';
import { findNative } from '../../launch';
import { evaluationText, type EvaluationText } from '../evaluation-text';
import { measure } from '../measure';
import { attachActivations, attachMerged } from '../merge';
import { tokenCacheFolder } from '../prepare';
import { perplexityOf, type Measurement } from '../progress';
import { withExportEngine } from './export-engine';
import type { FormatPlan } from './formats';
import type { PerplexityChange } from './perplexity-change';
import type { Scratch } from './scratch';
import type { ExportSource } from './source';

export interface MeasureExportOptions {
  readonly signal: AbortSignal | null;
  readonly onProgress: (phase: string, done: number, total: number) => void;
}

/** @throws UserError CannotMeasure; AbortError after `signal` */
export async function measureExport(
  source: ExportSource,
  scratch: Scratch,
  plan: FormatPlan,
  options: MeasureExportOptions,
): Promise<PerplexityChange> {
  try {
    return await measureChange(source, scratch, plan, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    const why = error instanceof Error ? error.message : String(error);
    throw new UserError('CannotMeasure', `what the export does to perplexity cannot be measured: ${why}`, {
      hint: 'With --no-measure it is written all the same.',
      cause: error,
    });
  }
}

async function measureChange(
  source: ExportSource,
  scratch: Scratch,
  plan: FormatPlan,
  { signal, onProgress }: MeasureExportOptions,
): Promise<PerplexityChange> {
  const { experiment, model, merged, linears, runDirectory } = source;
  const { data, training, evaluation } = experiment;
  if (data.validation.length === 0) throw new UserError('NoValidation', 'the experiment has no data.validation');
  const tokenizer = await openTokenizer(model.folder, { addonFile: findNative().addon });
  const stream = await tokenizeCorpus({
    files: data.validation,
    baseFolder: runDirectory,
    tokenizer,
    packing: data.packing,
    kind: 'text',
    field: data.field,
    cacheFolder: tokenCacheFolder(runDirectory),
    ...(signal === null ? {} : { signal }),
    onProgress: ({ bytesDone, bytesTotal }) => onProgress('tokenizing', bytesDone, bytesTotal),
  });
  try {
    const text = evaluationText({
      kind: 'validation',
      stream,
      sequenceLength: data.sequenceLength,
      microBatch: training.microBatchSize,
      maxBatches: evaluation.maxBatches,
      modelVocabSize: model.shape.vocabSize,
    });
    const own: Weights = { tensors: merged.tensors, linears, file: source.mergedFile };
    const before = await perplexity(source, own, text, 'as trained', { signal, onProgress });
    const decoded = await decodedWeights(source, scratch, plan, signal);
    const after = await perplexity(source, decoded, text, 'as exported', { signal, onProgress });
    // The export itself needs the room.
    await scratch.discard(decoded.copy);
    return { before: perplexityOf(before), after: perplexityOf(after), tokens: after.tokens };
  } finally {
    stream.close();
  }
}

interface Weights {
  readonly tensors: readonly TensorSource[];
  readonly linears: Readonly<Record<string, LinearQuantization | null>>;
  /** Merged integers and scales of the linears that are quantized. */
  readonly file: string;
}

interface DecodedWeights extends Weights {
  /** The file made for them. */
  readonly copy: string;
}

async function perplexity(
  { runDirectory, experiment, merged, mergedFile }: ExportSource,
  { tensors, linears, file }: Weights,
  text: EvaluationText,
  label: string,
  { signal, onProgress }: MeasureExportOptions,
): Promise<Measurement> {
  const { shape, quantized } = merged;
  const { microBatchSize } = experiment.training;
  const size = { microBatchSize, sequenceLength: text.sequenceLength };
  const names = Object.keys(linears).filter((name) => linears[name] !== null);
  const activations = resolveActivations(experiment);
  return withExportEngine(
    { runDirectory, shape, tensors, linears, activations, ...size, signal },
    async (engine: Engine) => {
      // The integers of form "merged" are the file's. Φ0 is not asked for; with scales given no ranges are searched for it.
      const scales: Record<string, Float32Array> = {};
      const zeroPoints: Record<string, Float32Array> = {};
      for (const name of names) {
        const tensor = quantized.get(name);
        scales[name] = (await tensor?.scales()) ?? new Float32Array();
        if (tensor?.zeroPoints !== undefined) zeroPoints[name] = Float32Array.from(await tensor.zeroPoints());
      }
      await engine.load({
        scales,
        zeroPoints,
        onProgress: ({ done, total }) => onProgress('loading the model', done, total),
      });
      // What was trained beside the linears is among the tensors.
      if (names.length > 0) await attachMerged(engine, file, { shape, linears, floats: null });
      if ((activations?.staticRanges ?? null) !== null) await attachActivations(engine, mergedFile);
      return measure(engine, text, {
        // Also of a copy that is floats alone: in form "float" activations would not be quantized.
        form: 'merged',
        point: () => {
          signal?.throwIfAborted();
          return Promise.resolve();
        },
        onProgress: (done, total) => onProgress(`measuring perplexity, ${label}`, done, total),
      });
    },
  );
}

/** Writes what a reader decodes wherever that is not what was trained, and says where everything is. */
async function decodedWeights(
  { merged, linears, mergedFile }: ExportSource,
  scratch: Scratch,
  plan: FormatPlan,
  signal: AbortSignal | null,
): Promise<DecodedWeights> {
  const losses = new Map(plan.tensors.flatMap(({ name, loss }) => (loss === null ? [] : [[name, loss] as const])));
  const inFloat = new Map<string, WeightDType>();
  const written: TensorToWrite[] = [];
  let scalesChange = false;
  for (const source of merged.tensors) {
    const loss = losses.get(source.name);
    const linear = merged.quantized.get(source.name.replace(/\.weight$/, ''));
    if (loss === undefined) continue;
    if (loss.rounds === 'scales') scalesChange = true;
    else {
      const type = loss.to === 'fp16' ? 'F16' : 'BF16';
      inFloat.set(source.name, type);
      const data = () => (linear === undefined ? parameter(source, type) : dequantized(linear, type));
      written.push({ name: source.name, dtype: type, shape: source.shape, data });
    }
  }
  const isFloat = (name: string): boolean => inFloat.has(`${name}.weight`);
  if (scalesChange) {
    for (const tensor of merged.quantized.values()) {
      if (!isFloat(tensor.name)) written.push(...mergedTensors(tensor, losses.get(`${tensor.name}.weight`)));
    }
  }
  const bytes = written.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  const file = await scratch.path('decoded.safetensors', bytes, 'the decoded copy that perplexity is measured of');
  await writeSafetensors(
    file,
    written.map((tensor) => interruptible(tensor, signal)),
  );
  const header = await readHeader(file);
  return {
    copy: file,
    file: scalesChange ? file : mergedFile,
    linears: Object.fromEntries(Object.entries(linears).map(([name, spec]) => [name, isFloat(name) ? null : spec])),
    tensors: merged.tensors.map((source) => {
      const type = inFloat.get(source.name);
      const place = header.tensors.get(source.name);
      if (type === undefined || place === undefined) return source;
      return { ...source, file, dtype: type, offset: place.offset, bytes: place.bytes };
    }),
  };
}

/** A linear as merged.safetensors has it, its scales rounded if the export rounds them. */
function mergedTensors(tensor: QuantizedTensor, loss: Loss | undefined): TensorToWrite[] {
  const { name, outputs, inputs, bits, groupSize } = tensor;
  const count = groupSize === 0 ? 1 : groupSize < 0 ? outputs : (outputs * inputs) / groupSize;
  const scales = async (): Promise<Float32Array> => {
    const own = await tensor.scales();
    if (loss === undefined) return own;
    return loss.to === 'fp16' ? fp16ToFloat32(float32ToFp16(own)) : bf16ToFloat32(float32ToBf16(own));
  };
  const { zeroPoints } = tensor;
  return [
    ...(zeroPoints === undefined
      ? []
      : [
          {
            name: `${name}.zeroPoints`,
            dtype: 'U8' as const,
            shape: [count],
            data: zeroPoints,
          },
        ]),
    { name: `${name}.scales`, dtype: 'F32', shape: [count], data: scales },
    { name: `${name}.codes`, dtype: 'U8', shape: [outputs, packedRowBytes(bits, inputs)], data: () => tensor.codes() },
  ];
}

function interruptible(tensor: TensorToWrite, signal: AbortSignal | null): TensorToWrite {
  const { data } = tensor;
  if (typeof data !== 'function') return tensor;
  return {
    ...tensor,
    data: () => {
      signal?.throwIfAborted();
      return data();
    },
  };
}
