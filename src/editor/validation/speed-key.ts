// Which experiments can use each other's measured rates: those whose steps have the same parts at the same sizes. Bits, rank, ranges and
// whatever else is tried while somebody writes change a step by what the cost model knows.
import { startOf, type Experiment, type RunPlan } from '../../experiment';

export function speedKey(experiment: Experiment, plan: RunPlan): string {
  const { compute, threads, lanes, activationCheckpointing, input } = plan;
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim, vocabSize } = input.shape;
  const { method } = experiment.quantization;
  const start = startOf(experiment);
  const hasGroups = Object.values(plan.linears).some((spec) => spec !== null && spec.groupSize > 0);
  return [
    `${compute} ${String(threads)} threads ${String(lanes)} lanes ${activationCheckpointing}`,
    [hiddenSize, intermediateSize, heads, kvHeads, headDim, vocabSize].join('x'),
    `${String(input.microBatchSize)}x${String(input.sequenceLength)}`,
    `${method}${hasGroups ? ' groups' : ''}${start === null ? '' : ` gptq ${String(start.gptq)} svd ${String(start.lowRank !== null)}`}`,
    `${input.distillation === null || input.distillation === undefined ? '' : 'distillation'}${input.activations === null || input.activations === undefined ? '' : ' activations'}`,
  ].join(', ');
}
