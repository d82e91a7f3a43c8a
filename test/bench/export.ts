// Speed of the export formats on one core: linears of a 7B model, everything but the disk, by processor time, so that other work on
// the machine counts as little as can be. Goal: 300 MB/s of what is written.
import type { ModelShape } from '../../src/formats';
import { writeSafetensors } from '../../src/formats';
import type { FileSystem } from '../../src/formats/file-system';
import { planCompressedTensors } from '../../src/formats/compressed-tensors';
import { planDequantized } from '../../src/formats/dequantized-model';
import { writeGguf } from '../../src/formats/gguf-file';
import { planGguf, type GgufType } from '../../src/formats/gguf-model';
import type { FolderContents } from '../../src/formats/folder-export';
import { planGptq } from '../../src/formats/gptq';
import type { MergedModel } from '../../src/formats/merged-model';
import { packedRowBytes, type QuantizedTensor } from '../../src/formats/quantized-tensor';

const OUTPUTS = 11008;
const INPUTS = 4096;
const LINEARS = 2;

/** Up-projections alone; nothing else is read. */
function model(shape: ModelShape, bits: number): MergedModel {
  const codes = new Uint8Array(OUTPUTS * packedRowBytes(bits, INPUTS));
  for (let i = 0, state = 1; i < codes.length; i++) codes[i] = (state = (state * 1103515245 + 12345) >>> 0) >>> 24;
  const scales = Float32Array.from({ length: OUTPUTS }, (_, i) => 2 ** -8 * (1 + (i % 128) / 128));
  const names = Array.from({ length: LINEARS }, (_, i) => `model.layers.${String(i)}.mlp.up_proj`);
  const quantized = new Map(
    names.map((name): [string, QuantizedTensor] => [
      name,
      {
        name,
        outputs: OUTPUTS,
        inputs: INPUTS,
        bits,
        groupSize: -1,
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

export async function benchExport(shape: ModelShape): Promise<void> {
  console.log(`\nexport, ${String(LINEARS)} linears of ${String(OUTPUTS)} × ${String(INPUTS)}, one thread`);
  const models = new Map([2, 3, 4].map((bits) => [bits, model(shape, bits)]));
  const of = (bits: number): MergedModel => models.get(bits) ?? model(shape, bits);
  const gguf = (bits: number, type: GgufType): [string, (to: FileSystem) => Promise<void>] => [
    `gguf ${type}, ${String(bits)} bits`,
    async (to) => {
      const plan = await planGguf(of(bits), { type, floatType: null, name: 'bench', pairs: [] });
      await writeGguf('file', plan.metadata, plan.tensors, to);
    },
  ];
  const folder = (
    name: string,
    plan: (merged: MergedModel) => Promise<FolderContents>,
  ): [string, (to: FileSystem) => Promise<void>] => [
    `${name}, 4 bits`,
    async (fileSystem) => writeSafetensors('file', (await plan(of(4))).tensors, { fileSystem }),
  ];
  const cases = [
    gguf(4, 'Q4_0'),
    gguf(4, 'Q8_0'),
    gguf(4, 'Q4_K'),
    gguf(3, 'Q3_K'),
    gguf(2, 'Q2_K'),
    folder('huggingface fp16', (merged) => planDequantized(merged, 'F16')),
    folder('compressed-tensors', planCompressedTensors),
    folder('gptq', planGptq),
  ];
  for (const [name, write] of cases) {
    // The first one compiles.
    let best = 0;
    for (let attempt = 0; attempt < 3; attempt++) {
      const to = sink();
      const before = process.cpuUsage();
      await write(to.fileSystem);
      const { user, system } = process.cpuUsage(before);
      best = Math.max(best, to.bytes() / Math.max(1, user + system));
    }
    console.log(`  ${name.padEnd(26)} ${best.toFixed(0).padStart(6)} MB/s`);
  }
}
