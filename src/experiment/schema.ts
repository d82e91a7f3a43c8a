// The experiment file, once: static types, the JSON schema shipped to editors, defaults, hovers, messages and the
// reference page docs/experiment-file.md all come from the schema below, whose parts are in schema-*.ts.

import type { Static } from '@sinclair/typebox';
import * as Type from '@sinclair/typebox';

import { data, model } from './schema-data';
import { checkpoint, evaluation } from './schema-evaluation';
import { prose, requiredSection, withDefault, type InputOf } from './schema-kit';
import { LayerOverrideSchema } from './schema-linear';
import { compute, device, memoryLimit, offload, threads } from './schema-machine';
import { quantization } from './schema-quantization';
import { training } from './schema-training';

export { LayerOverrideSchema };

/** The resolved experiment: every key present. */
export const ExperimentSchema = requiredSection(
  {
    name: withDefault(
      Type.String({
        maxLength: 200,
        ...prose({ description: 'Shown in lists and part of the run folder; by default the name of this file.' }),
      }),
      '',
    ),
    model,
    data,
    quantization,
    training,
    evaluation,
    checkpoint,
    device: withDefault(device, 'auto'),
    compute: withDefault(compute, 'auto'),
    offload: withDefault(offload, 'auto'),
    threads: withDefault(threads, 'auto'),
    memoryLimit: withDefault(memoryLimit, 'auto'),
  },
  { description: 'One quantization-aware training experiment of LR-QAT Studio.' },
);

/** An experiment with every default filled in. */
export type Experiment = Static<typeof ExperimentSchema>;
/** An experiment as it may be written. */
export type ExperimentInput = InputOf<typeof ExperimentSchema>;
export type Activations = Experiment['quantization']['activations'];
export type LayerOverride = Static<typeof LayerOverrideSchema>;
export type Granularity = Experiment['quantization']['weights']['granularity'];
