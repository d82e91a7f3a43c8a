// Speed of the export formats on one core: a linear of a 7B model, 4 bits, written to a file. Goal: 300 MB/s of what is written.
import { mkdtemp, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { ModelShape } from '../../src/formats';
import { writeSafetensors } from '../../src/formats';
import { planCompressedTensors } from '../../src/formats/compressed-tensors';
import { planDequantized } from '../../src/formats/dequantized-model';
import { writeGguf } from '../../src/formats/gguf-file';
import { planGguf, type GgufType } from '../../src/formats/gguf-model';
import { planGptq } from '../../src/formats/gptq';
import type { MergedModel } from '../../src/formats/merged-model';
import { packedRowBytes, type QuantizedTensor } from '../../src/formats/quantized-tensor';

const OUTPUTS = 11008;
const INPUTS = 4096;
const LINEARS = 4;

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

export async function benchExport(shape: ModelShape): Promise<void> {
  console.log(`\nexport, ${String(LINEARS)} linears of ${String(OUTPUTS)} × ${String(INPUTS)}, one thread`);
  const folder = await mkdtemp(path.join(os.tmpdir(), 'lrqat-bench-'));
  const file = path.join(folder, 'file');
  const gguf = (bits: number, type: GgufType): [string, () => Promise<void>] => [
    `gguf ${type}, ${String(bits)} bits`,
    async () => {
      const plan = await planGguf(model(shape, bits), { type, floatType: null, name: 'bench', pairs: [] });
      await writeGguf(file, plan.metadata, plan.tensors);
    },
  ];
  const cases: [string, () => Promise<void>][] = [
    gguf(4, 'Q4_0'),
    gguf(4, 'Q8_0'),
    gguf(4, 'Q4_K'),
    gguf(3, 'Q3_K'),
    gguf(2, 'Q2_K'),
    ['huggingface fp16', async () => writeSafetensors(file, (await planDequantized(model(shape, 4), 'F16')).tensors)],
    ['compressed-tensors', async () => writeSafetensors(file, (await planCompressedTensors(model(shape, 4))).tensors)],
    ['gptq', async () => writeSafetensors(file, (await planGptq(model(shape, 4))).tensors)],
  ];
  try {
    for (const [name, write] of cases) {
      // The first one compiles.
      let best = 0;
      for (let attempt = 0; attempt < 3; attempt++) {
        const cpu = process.cpuUsage();
        const begun = performance.now();
        await write();
        const seconds = (performance.now() - begun) / 1000;
        const { size } = await stat(file);
        const { user, system } = process.cpuUsage(cpu);
        const core = (user + system) / 1e6;
        best = Math.max(best, size / 1e6 / Math.max(core, 1e-6));
        if (attempt === 2) {
          const wall = size / 1e6 / seconds;
          console.log(
            `  ${name.padEnd(24)} ${best.toFixed(0).padStart(6)} MB/s of processor time, ${wall.toFixed(0)} MB/s with the disk`,
          );
        }
        await rm(file);
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
