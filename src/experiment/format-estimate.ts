// An estimate as a terminal shows it.

import type { MemoryParts } from '../../native/binding/addon';
import type { Estimate } from './estimate';
import type { RunPlan } from './planner';
import { formatBytes, formatCount, formatSeconds } from './format-numbers';

const partNames: Readonly<Record<keyof MemoryParts, string>> = {
  quantizedWeights: 'frozen weights Φ0 and s0',
  parameters: 'A, B and scales',
  gradients: 'gradients',
  optimizer: 'optimiser moments',
  embeddings: 'embedding, head, norms',
  activations: 'activations',
  workspace: 'workspace',
  host: 'in host memory',
};

/** E.g. "block checkpointing, the last 5 of 32 kept". */
export function describeCheckpointing(
  { activationCheckpointing, keptBlocks = 1 }: Partial<Pick<RunPlan, 'activationCheckpointing' | 'keptBlocks'>>,
  layers?: number,
): string {
  if (activationCheckpointing !== 'block') return 'no checkpointing';
  const of = layers === undefined ? '' : ` of ${String(layers)}`;
  return keptBlocks > 1 ? `block checkpointing, the last ${String(keptBlocks)}${of} kept` : 'block checkpointing';
}

/** Several lines, the last one ended. */
export function formatEstimate(result: Estimate): string {
  const { plan, disk } = result;
  const { shape } = plan.input;
  const rows = (Object.keys(partNames) as (keyof MemoryParts)[])
    .filter((part) => part !== 'host' || result.parts.host > 0)
    .map((part): [string, string] => [partNames[part], formatBytes(result.parts[part])]);
  const settings = [
    `micro-batch ${String(plan.input.microBatchSize)}`,
    `sequences of ${String(plan.input.sequenceLength)}`,
    plan.compute,
    `${String(plan.threads)} thread${plan.threads === 1 ? '' : 's'}`,
    describeCheckpointing(plan, shape.layers),
    ...(plan.rebuiltWeights === 'keep' ? ['rebuilt weights kept'] : []),
    ...(plan.lanes > 1 ? [`${String(plan.lanes)} lanes`] : []),
    ...(plan.embeddings === 'host' ? ['embedding rows on the host'] : []),
    ...(plan.optimizerState === 'host' ? ['moments on the host'] : []),
  ];
  const lines = [
    `${result.name}: ${shape.architecture}, ${formatCount(result.quantizedWeights)} quantized weights at ${result.bitsPerWeight.toFixed(2)} bits, ${formatCount(result.trainedParameters)} trained numbers`,
    `  ${settings.join(', ')}`,
    '',
    'memory (engine)',
    ...table([...rows, ['total', formatBytes(result.total)]]),
    ...(result.evaluationPeak === null
      ? []
      : [
          `  evaluating blocks of ${String(result.evaluationPeak.sequenceLength)} tokens needs ${formatBytes(result.evaluationPeak.total)}`,
        ]),
    ...(result.startPeak === null ? [] : [`  finding the start needs ${formatBytes(result.startPeak)} on the CPU`]),
    result.fits
      ? `  fits: the limit is ${formatBytes(result.limit)}`
      : `  DOES NOT FIT: the limit is ${formatBytes(result.limit)}, ${formatBytes(result.peak - result.limit)} too much`,
  ];
  if (result.secondsPerStep > 0 || result.startSeconds !== 0 || result.evaluationSeconds !== 0) {
    lines.push(
      '',
      `time${result.calibrated ? '' : ' (rough: no rate was measured on this machine)'}`,
      ...table([
        ...(result.secondsPerStep > 0 ? trainingTimes(result) : []),
        ...(result.teacherSeconds > 0
          ? [['float model', `${formatSeconds(result.teacherSeconds)} at most, once`] as [string, string]]
          : []),
        ...(result.startSeconds === 0
          ? []
          : [
              ['start', result.startSeconds === null ? 'not known' : formatSeconds(result.startSeconds)] as [
                string,
                string,
              ],
            ]),
        ['evaluation', result.evaluationSeconds === null ? 'not known' : formatSeconds(result.evaluationSeconds)],
      ]),
    );
  }
  lines.push(
    '',
    'disk',
    ...table([
      ...(disk.checkpoints > 0
        ? [['checkpoints', `${String(disk.checkpoints)} × ${formatBytes(disk.checkpoint)} at most`] as [string, string]]
        : []),
      ['merged weights', formatBytes(disk.merged)],
      ...(disk.teacher > 0
        ? [['float model', `${formatBytes(disk.teacher)} at most, while it trains`] as [string, string]]
        : []),
      ['total', formatBytes(disk.total)],
    ]),
  );
  if (disk.free !== null) {
    lines.push(
      disk.fits ? `  fits: ${formatBytes(disk.free)} are free` : `  DOES NOT FIT: ${formatBytes(disk.free)} are free`,
    );
  }
  if (result.suggestions.length > 0) {
    lines.push('', 'what would help');
    for (const { title, total, least, fits, tokensPerSecond, set } of result.suggestions) {
      const sizes = least < total ? `${formatBytes(total)} (${formatBytes(least)} at least)` : formatBytes(total);
      lines.push(
        `  ${title}: ${sizes}, ${fits ? 'fits' : 'still too much'}, ${formatCount(tokensPerSecond)} tokens/s`,
        `    ${set.map((assignment) => `--set ${assignment}`).join(' ')}`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

function trainingTimes({ secondsPerStep, tokensPerSecond, trainingSeconds, cost }: Estimate): [string, string][] {
  return [
    ['a step', `${formatSeconds(secondsPerStep)} (${formatCount(cost.tokens)} tokens)`],
    ['speed', `${formatCount(tokensPerSecond)} tokens/s`],
    ['training', formatSeconds(trainingSeconds)],
  ];
}

function table(rows: readonly [string, string][]): string[] {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`);
}
