// Rules between the texts, what is measured on them and when.

import { quoted } from './allowed';
import type { Rule } from './rule';

export const validationText: Rule = {
  reads: ['evaluation.kinds', 'data.validation'],
  *check({ evaluation: { kinds }, data: { validation } }) {
    if (!kinds.includes('validation') || validation.length > 0) return;
    yield {
      path: ['data', 'validation'],
      severity: 'warning',
      message:
        'data.validation names no files, so nothing is measured while training and the best checkpoint cannot be told; add a text that is not trained on',
    };
  },
};

export const wikitextText: Rule = {
  reads: ['evaluation.kinds', 'evaluation.wikitext.files'],
  *check({ evaluation: { kinds, wikitext } }) {
    const index = kinds.indexOf('wikitext');
    if (index < 0 || wikitext.files.length > 0) return;
    yield {
      path: ['evaluation', 'kinds', index],
      value: 'wikitext',
      message:
        'evaluation.kinds: "wikitext" needs its text; name the raw test split of WikiText-2 in evaluation.wikitext.files',
    };
  },
};

export const validationApart: Rule = {
  reads: ['data.train', 'data.validation'],
  *check({ data: { train, validation } }) {
    for (const [index, file] of validation.entries()) {
      if (!train.includes(file)) continue;
      yield {
        path: ['data', 'validation', index],
        value: file,
        severity: 'warning',
        message: `data.validation[${String(index)}]: ${quoted(file)} is also trained on, so its perplexity says little; use a text of its own`,
      };
    }
  },
};

export const validationWithinRun: Rule = {
  reads: ['training.steps', 'evaluation.everySteps', 'evaluation.kinds'],
  *check({ training: { steps }, evaluation: { everySteps, kinds } }) {
    if (everySteps <= steps || kinds.length === 0) return;
    yield {
      path: ['evaluation', 'everySteps'],
      onlyWhenWritten: true,
      value: everySteps,
      severity: 'warning',
      message: `evaluation.everySteps: ${String(everySteps)} is more than the ${steps === 1 ? 'one step' : `${String(steps)} steps`} of the run, which is measured at its start and end only; use at most ${String(steps)}, or 0 to say so`,
      replacements: [Math.max(1, Math.floor(steps / 10))],
    };
  },
};
