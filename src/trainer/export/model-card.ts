// README.md of an export: what was trained how, on what, with which result, and what the export changes.
import path from 'node:path';
import { version } from '../../../package.json';
import { activationName, formatBytes, type Experiment } from '../../experiment';
import { FLOAT_GROUPS } from '../../experiment/float-parameters';
import { readResult, runPaths, type FourPerplexities } from '../../runs';
import { readJson } from '../../runs/json-file';
import { isObject } from '../../formats/show-value';
import { describeLosses } from '../../formats/tensor-export';
import { LOADED_BY, type FormatPlan } from './formats';
import { licenceOf } from './licence';
import { describeChange, type PerplexityChange } from './perplexity-change';
import type { ExportSource } from './source';

const METHODS: Readonly<Record<Experiment['quantization']['method'], string>> = {
  'lr-qat': 'trained with LR-QAT',
  lsq: 'trained whole with their scales (LSQ)',
  peqa: 'rounded to nearest, their scales trained (PEQA),',
  gptq: 'rounded by GPTQ',
  rtn: 'rounded to nearest',
};

export async function modelCard(
  source: ExportSource,
  plan: FormatPlan,
  change: PerplexityChange | null,
): Promise<string> {
  const { experiment, model, runDirectory } = source;
  const base = path.basename(model.folder);
  const licence = await licenceOf(model.folder);
  const { weights, lowRank, storage, method, layers } = experiment.quantization;
  const { training, data } = experiment;
  const activations = activationName(experiment);
  const scale =
    (typeof weights.granularity === 'object'
      ? `one scale for ${String(weights.granularity.group)} weights`
      : weights.granularity) + (weights.symmetric ? '' : ', zero points');
  return [
    '---',
    ...(licence.id === null ? [] : [`license: ${licence.id}`]),
    `base_model: ${base}`,
    'base_model_relation: quantized',
    `tags: [quantization-aware-training, lr-qat, ${plan.format}]`,
    '---',
    '',
    `# ${experiment.name}`,
    '',
    `${base} with ${String(weights.bits)}-bit weights (${scale}), ${METHODS[method]} and exported by LR-QAT Studio ${version} as ${plan.format}, for ${LOADED_BY[plan.format]}.`,
    '',
    '## Exactness',
    '',
    ...exactness(plan, change),
    '',
    '## Perplexity',
    '',
    ...(await perplexities(source)),
    '',
    '## Recipe',
    '',
    '| | |',
    '| --- | --- |',
    `| method | ${method} |`,
    `| weights | ${String(weights.bits)} bits, ${scale}, range ${weights.range}${layers.length > 0 ? `, ${String(layers.length)} overrides by layer` : ''} |`,
    ...(activations === null
      ? []
      : [
          `| activations | ${activations}, simulated in training and in the perplexities above; this export holds weights alone |`,
        ]),
    ...(method === 'rtn' || method === 'gptq'
      ? []
      : [
          ...(method === 'lr-qat'
            ? [
                `| low-rank factors | rank ${String(lowRank.rank)}, alpha ${String(lowRank.alpha)}; storage of Φ0: ${storage} |`,
              ]
            : []),
          `| training | ${String(training.steps)} steps of ${String(training.batchSize)} × ${String(data.sequenceLength)} tokens, learning rates ${learningRates(experiment)}, ${training.schedule}, seed ${String(training.seed)} |`,
        ]),
    ...(source.checkpointStep === null ? [] : [`| checkpoint | step ${String(source.checkpointStep)} |`]),
    `| run | ${path.basename(runDirectory)} |`,
    '',
    '## Provenance',
    '',
    ...(await provenance(runDirectory)),
    '',
    '## Licence',
    '',
    licence.id === null && licence.files.length === 0
      ? `The folder of the base model states no licence. That of ${base} applies to this model as well.`
      : `The licence of the base model (${licence.id ?? licence.files.join(', ')}) applies to this model as well.`,
    '',
  ].join('\n');
}

function learningRates({ quantization: { method }, training: { learningRate } }: Experiment): string {
  const rates = [
    ...(method === 'lsq' ? [[learningRate.weights, 'weights'] as const] : []),
    ...(method === 'lr-qat' ? [[learningRate.lowRank, 'low-rank'] as const] : []),
    [learningRate.scales, 'scales'] as const,
    ...FLOAT_GROUPS.map((group) => [learningRate[group] ?? 0, group] as const).filter(([rate]) => rate > 0),
  ].map(([rate, what]) => `${String(rate)} (${what})`);
  return rates.length === 1 ? rates.join('') : `${rates.slice(0, -1).join(', ')} and ${rates.at(-1) ?? ''}`;
}

function exactness({ tensors, warnings }: FormatPlan, change: PerplexityChange | null): string[] {
  const losses = describeLosses(tensors);
  return [
    losses.length === 0
      ? 'Exact: every weight that a reader decodes is the trained one, to the bit.'
      : `Not exact: ${losses.join('; ')}.`,
    ...(change === null
      ? []
      : [
          '',
          `Measured on the validation text before it was written (${String(change.tokens)} tokens): perplexity ${describeChange(change)}.`,
        ]),
    ...warnings.map((warning) => `\n- ${warning}`),
  ];
}

async function perplexities({ runDirectory, checkpointStep }: ExportSource): Promise<string[]> {
  const result = await readResult(runDirectory);
  if (result === null || checkpointStep !== null) return ['Not measured for this checkpoint at the end of a run.'];
  const kinds = Object.entries(result.evaluations ?? { validation: result.perplexity });
  const rows: readonly (readonly [string, keyof FourPerplexities])[] = [
    ['float', 'float'],
    ['rounded to nearest', 'roundToNearest'],
    ['trained', 'trained'],
    ['this model (merged)', 'merged'],
  ];
  const size = (form: string): string =>
    form === 'merged'
      ? formatBytes(result.modelBytes)
      : form === 'float' && result.float
        ? formatBytes(result.float.modelBytes)
        : '';
  return [
    `| weights | ${kinds.map(([kind]) => kind).join(' | ')} | size |`,
    `| --- | ${kinds.map(() => '---: |').join(' ')} ---: |`,
    ...rows.map(
      ([label, form]) =>
        `| ${label} | ${kinds.map(([, of]) => of[form]?.toFixed(4) ?? '–').join(' | ')} | ${size(form)} |`,
    ),
  ];
}

async function provenance(runDirectory: string): Promise<string[]> {
  const value = await readJson(runPaths(runDirectory).provenance).catch(() => undefined);
  if (!isObject(value)) return ['Not recorded.'];
  const git = value['git'];
  const hashes = value['hashes'];
  const lines =
    isObject(git) && typeof git['commit'] === 'string'
      ? [`- experiment at commit ${git['commit']}${git['dirty'] === true ? ', with changes' : ''}`]
      : [];
  if (isObject(hashes)) {
    for (const [kind, list] of Object.entries(hashes)) {
      if (!Array.isArray(list)) continue;
      for (const entry of list.filter(isObject)) {
        if (typeof entry['file'] !== 'string' || typeof entry['sha256'] !== 'string') continue;
        lines.push(`- ${kind}: ${path.basename(entry['file'])}, SHA-256 ${entry['sha256']}`);
      }
    }
  }
  return lines.length > 0 ? lines : ['Not recorded.'];
}
