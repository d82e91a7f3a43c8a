// Of the experiment file: where a run computes, with which numbers, threads and memory.

import * as Type from '@sinclair/typebox';

import { choice, prose } from './schema-kit';

export const device = Type.String({
  pattern: '^(auto|cpu|cuda(:[0-9]+)?)$',
  ...prose({
    description: 'Where the run computes: "auto", "cpu", "cuda" or "cuda:<index>".',
    allowed: '"auto", "cpu", "cuda" or "cuda:<index>"',
  }),
});

export const offload = choice(
  {
    auto: 'What has to, so that the run fits into the memory of the GPU.',
    none: 'Everything lies in the memory of the GPU.',
    embeddings: 'Rows of the embedding table are gathered on the host.',
    optimizer: "The optimiser's moments lie in host memory as well; slower where PCI Express is slow.",
  },
  { description: 'What of a run on a GPU lies in host memory; results do not change.' },
);

export const compute = choice(
  {
    auto: 'bf16 where the processor multiplies it natively (with AMX tiles, or with AVX512-BF16 where oneDNN is installed) and on a GPU, else float32. The choice is stored with the run.',
    float32: 'All products in float32.',
    bf16: 'Products of BFloat16 inputs with float32 accumulation.',
  },
  { description: 'Number type of the matrix products.' },
);

export const threads = Type.Union(
  [
    choice({ auto: 'One thread for each core.' }, { description: 'One thread for each core.' }),
    Type.Integer({ minimum: 1, maximum: 1024 }),
  ],
  prose({ description: 'Threads of the engine: "auto" or a number.', unit: 'threads' }),
);

export const memoryLimit = Type.Union(
  [
    Type.String({ pattern: '^(auto|[0-9]+([.][0-9]+)? ?([KMGT]i?)?B)$' }),
    Type.Integer({ minimum: 1, ...prose({ description: 'Bytes.', unit: 'bytes' }) }),
  ],
  prose({
    description:
      'Most memory that the engine may allocate: "auto" (three quarters of the machine\'s memory; of a GPU 95 % of what is free), a size such as "6 GiB" or "800 MB", or a number of bytes.',
    allowed: '"auto", a size such as "6 GiB", or a number of bytes',
  }),
);
