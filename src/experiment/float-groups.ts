// What an experiment trains beside the quantized linears, each group at a learning rate of its own.

import type { FloatGroup, TrainedFloats } from '../../native/binding/addon';
import type { ModelShape } from '../formats/model-shape';
import { FLOAT_GROUPS } from './float-parameters';
import type { Experiment } from './schema';
import { isTrained } from './start';

/** The groups that an experiment trains; null: none. With tied embeddings the head is the table, which `embeddings` stands for. */
export function trainedFloats(
  experiment: Experiment,
  { tiedEmbeddings }: Pick<ModelShape, 'tiedEmbeddings'>,
): TrainedFloats | null {
  const groups = groupsWithRates(experiment);
  const floats = {
    norms: groups.includes('norms'),
    head: groups.includes('head') && !tiedEmbeddings,
    embeddings: groups.includes('embeddings'),
  };
  return Object.values(floats).includes(true) ? floats : null;
}

/** The groups that have a learning rate, whatever the model; none where nothing is trained. */
export function groupsWithRates(experiment: Experiment): FloatGroup[] {
  const { learningRate } = experiment.training;
  return isTrained(experiment) ? FLOAT_GROUPS.filter((group) => (learningRate[group] ?? 0) > 0) : [];
}
