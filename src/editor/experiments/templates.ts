// Texts of new experiment files. Pure.
import { experimentText } from '../../experiment/experiment-text';
import { PRESETS, presetComments } from '../../experiment/presets';
import { l10n } from '../l10n';

export interface Template {
  readonly id: string;
  readonly label: string;
  readonly detail: string;
  /** Beginning of the file's name. */
  readonly name: string;
  /** First lines of the file; default: label and detail. */
  readonly comments?: readonly string[];
  readonly data?: readonly string[];
  readonly quantization: readonly string[];
  readonly training: readonly string[];
}

/** From the quickest to see something with to the one without training, then the paper's recipes. */
export function templates(): readonly Template[] {
  return [
    {
      id: 'w4-per-channel',
      label: l10n.t('4 bits per channel'),
      detail: l10n.t('The published recipe: nearly no loss, two to four times smaller. A good first experiment.'),
      name: 'w4',
      quantization: [
        '"weights": { "bits": 4, "granularity": "per-channel", "range": "lp-4" },',
        '"lowRank": { "rank": 32, "alpha": 1 }',
      ],
      training: [
        '"steps": 1000,',
        '"batchSize": 32,',
        '"microBatchSize": 4,',
        '"learningRate": { "lowRank": 1e-3, "scales": 1e-5 }',
      ],
    },
    {
      id: 'w4-group128',
      label: l10n.t('4 bits in groups of 128'),
      detail: l10n.t('One scale for 128 weights: closest to the float model at 4 bits, and what many runtimes read.'),
      name: 'w4g128',
      quantization: [
        '"weights": { "bits": 4, "granularity": { "group": 128 }, "range": "lp-4" },',
        '"lowRank": { "rank": 32, "alpha": 1 }',
      ],
      training: [
        '"steps": 1000,',
        '"batchSize": 32,',
        '"microBatchSize": 4,',
        '"learningRate": { "lowRank": 1e-3, "scales": 1e-5 }',
      ],
    },
    {
      id: 'w3-per-channel',
      label: l10n.t('3 bits per channel'),
      detail: l10n.t('Smaller still; rounding alone hurts, training wins most of it back.'),
      name: 'w3',
      quantization: [
        '"weights": { "bits": 3, "granularity": "per-channel", "range": "lp-3.5" },',
        '"lowRank": { "rank": 32, "alpha": 1 }',
      ],
      training: [
        '"steps": 2000,',
        '"batchSize": 32,',
        '"microBatchSize": 4,',
        '"learningRate": { "lowRank": 1e-3, "scales": 1e-5 }',
      ],
    },
    {
      id: 'w2-per-channel',
      label: l10n.t('2 bits per channel'),
      detail: l10n.t('The hardest case: four integers a weight. Needs larger learning rates.'),
      name: 'w2',
      quantization: [
        '"weights": { "bits": 2, "granularity": "per-channel", "range": "lp-3" },',
        '"lowRank": { "rank": 32, "alpha": 32 }',
      ],
      training: [
        '"steps": 2000,',
        '"batchSize": 32,',
        '"microBatchSize": 4,',
        '"learningRate": { "lowRank": 1e-3, "scales": 1e-4 }',
      ],
    },
    {
      id: 'rtn',
      label: l10n.t('Rounding only (baseline)'),
      detail: l10n.t('No training: what rounding to nearest costs. Done as fast as two evaluations.'),
      name: 'w4-rtn',
      quantization: ['"method": "rtn",', '"weights": { "bits": 4, "granularity": "per-channel", "range": "lp-4" }'],
      training: [],
    },
    ...PRESETS.map((preset) => ({
      ...preset,
      label: preset.id,
      detail: preset.title,
      comments: presetComments(preset),
    })),
  ];
}

export interface NewExperiment {
  readonly template: Template;
  /** As to be written: relative to the file, absolute, or a hub id. */
  readonly model: string;
  readonly train: readonly string[];
  readonly validation: readonly string[];
}

/** The text of the file: short, because everything else has a default that completion tells of. */
export function templateText({ template, ...sources }: NewExperiment): string {
  return experimentText({
    ...sources,
    comments: template.comments ?? [`${template.label}. ${template.detail}`],
    trainHint: l10n.t('Text to train on: .txt, .jsonl, .parquet or .bin files; globs work.'),
    data: template.data ?? [],
    quantization: template.quantization,
    training: template.training,
  });
}

/** Texts that are probably meant: by their names, where a folder has such. */
export function guessTexts(files: readonly string[]): {
  readonly train: readonly string[];
  readonly validation: readonly string[];
} {
  const texts = files.filter((file) => /\.(txt|jsonl|parquet|bin)$/i.test(file));
  const named = (words: RegExp): string[] => texts.filter((file) => words.test(baseName(file)));
  const validation = named(/valid|eval|dev|test/i).slice(0, 1);
  const train = named(/train/i)
    .filter((file) => !validation.includes(file))
    .slice(0, 1);
  return { train, validation };
}

const baseName = (file: string): string => file.split(/[\\/]/).at(-1) ?? file;
