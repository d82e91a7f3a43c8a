// Speed of the export formats on one core: linears of a 7B model, everything but the disk, by processor time, so that other work on
// the machine counts as little as can be. Goal: 300 MB/s of what is written.
import type { ModelShape } from '../../src/formats';
import { writeSafetensors } from '../../src/formats';
import type { FileSystem } from '../../src/formats/file-system';
import { hashing } from '../../src/formats/hashing-files';
import { planCompressedTensors } from '../../src/formats/compressed-tensors';
import { planDequantized } from '../../src/formats/dequantized-model';
import { writeGguf } from '../../src/formats/gguf-file';
import { planGguf, type GgufType } from '../../src/formats/gguf-model';
import type { FolderContents } from '../../src/formats/folder-export';
import { planGptq } from '../../src/formats/gptq';
import type { MergedModel } from '../../src/formats/merged-model';
import { planPackedIntegers } from '../../src/formats/packed-integers';
import { packedRowBytes, type QuantizedTensor } from '../../src/formats/quantized-tensor';

const OUTPUTS = 11008;
const INPUTS = 4096;
const LINEARS = 2;

/** Up-projections alone; nothing else is read. */
function model(shape: ModelShape, bits: number, groupSize: number): MergedModel {
  const codes = new Uint8Array(OUTPUTS * packedRowBytes(bits, INPUTS));
  for (let i = 0, state = 1; i < codes.length; i++) codes[i] = (state = (state * 1103515245 + 12345) >>> 0) >>> 24;
  const count = groupSize < 0 ? OUTPUTS : (OUTPUTS * INPUTS) / groupSize;
  const scales = Float32Array.from({ length: count }, (_, i) => 2 ** -8 * (1 + (i % 128) / 128));
  const names = Array.from({ length: LINEARS }, (_, i) => `model.layers.${String(i)}.mlp.up_proj`);
  const quantized = new Map(
    names.map((name): [string, QuantizedTensor] => [
      name,
      {
        name,
        outputs: OUTPUTS,
        inputs: INPUTS,
        bits,
        groupSize,
        scales: () => Promise.resolve(scales),
        codes: () => Promise.resolve(codes),
      },
    ]),
  );
  const tensors = names.map((name) => ({
    name: `${name}.weight`,
    file: '',
    offset: 0,
    bytes: OUTPUTS * INPUTS * 2,
    dtype: 'BF16' as const,
    shape: [OUTPUTS, INPUTS],
  }));
  return { shape, tensors, quantized };
}

type Case = readonly [name: string, bits: number, groupSize: number, write: (to: FileSystem) => Promise<void>];

/** Takes everything and keeps nothing. */
function sink(): { readonly fileSystem: FileSystem; readonly bytes: () => number } {
  let bytes = 0;
  const nothing = (): Promise<void> => Promise.resolve();
  const file = {
    read: () => Promise.resolve({ bytesRead: 0 }),
    write: (_: Uint8Array, __: number, length: number) => {
      bytes += length;
      return Promise.resolve({ bytesWritten: length });
    },
    stat: () => Promise.resolve({ size: bytes }),
    truncate: nothing,
    datasync: nothing,
    close: nothing,
  };
  return {
    bytes: () => bytes,
    fileSystem: {
      open: () => Promise.resolve(file),
      mkdir: nothing,
      rename: nothing,
      link: nothing,
      copyExclusive: nothing,
      unlink: nothing,
      removeTree: nothing,
      syncFolder: nothing,
    },
  };
}

/** What one core does for a byte of an export: unpacking, packing and SHA-256 of what is written. */
export async function benchExport(shape: ModelShape): Promise<void> {
  console.log(
    `\nexport, ${String(LINEARS)} linears of ${String(OUTPUTS)} × ${String(INPUTS)}: bytes written by second of processor time, hashed, to nowhere`,
  );
  const models = new Map<string, MergedModel>();
  const of = (bits: number, groupSize = -1): MergedModel => {
    const key = `${String(bits)} ${String(groupSize)}`;
    const made = models.get(key) ?? model(shape, bits, groupSize);
    models.set(key, made);
    return made;
  };
  const gguf = (bits: number, type: GgufType, groupSize = -1): Case => [
    `gguf ${type}`,
    bits,
    groupSize,
    async (to) => {
      const plan = await planGguf(of(bits, groupSize), { type, floatType: null, name: 'bench', pairs: [] });
      await writeGguf('file', plan.metadata, plan.tensors, to);
    },
  ];
  const folder = (
    name: string,
    bits: number,
    groupSize: number,
    plan: (merged: MergedModel) => Promise<FolderContents>,
  ): Case => [
    name,
    bits,
    groupSize,
    async (fileSystem) => writeSafetensors('file', (await plan(of(bits, groupSize))).tensors, { fileSystem }),
  ];
  const cases = [
    gguf(4, 'Q4_0'),
    gguf(4, 'Q4_0', 32),
    gguf(2, 'Q4_0', 128),
    gguf(4, 'Q4_1'),
    gguf(4, 'Q4_K'),
    gguf(4, 'Q8_0'),
    gguf(8, 'Q8_0'),
    gguf(3, 'Q3_K'),
    gguf(2, 'Q2_K'),
    gguf(4, 'F16'),
    folder('huggingface fp16', 4, -1, (merged) => planDequantized(merged, 'F16')),
    folder('huggingface fp16', 4, 128, (merged) => planDequantized(merged, 'F16')),
    folder('huggingface bf16', 2, 128, (merged) => planDequantized(merged, 'BF16')),
    folder('huggingface fp32', 4, -1, (merged) => planDequantized(merged, 'F32')),
    folder('compressed-tensors', 4, -1, planCompressedTensors),
    folder('compressed-tensors', 3, 128, planCompressedTensors),
    folder('compressed-tensors', 8, -1, planCompressedTensors),
    folder('gptq', 4, -1, planGptq),
    folder('gptq', 3, 128, planGptq),
    folder('gptq', 2, 64, planGptq),
    folder('lr-qat', 4, -1, planPackedIntegers),
  ];
  for (const [name, bits, groupSize, write] of cases) {
    // The first one compiles.
    let best = 0;
    for (let attempt = 0; attempt < 6; attempt++) {
      const to = sink();
      const before = process.cpuUsage();
      await write(hashing(to.fileSystem).fileSystem);
      const { user, system } = process.cpuUsage(before);
      best = Math.max(best, to.bytes() / Math.max(1, user + system));
    }
    const what = `${name}, ${String(bits)} bits${groupSize > 0 ? `, groups of ${String(groupSize)}` : ''}`;
    console.log(`  ${what.padEnd(42)} ${best.toFixed(0).padStart(6)} MB/s`);
  }
}
