// evaluations.json: what a run has measured once and need not measure again on resume.

import path from 'node:path';
import type { WeightForm } from '../../native/binding/addon';
import { writeFileAtomic, type FileSystem } from '../formats/file-system';
import { jsonText, readJson } from '../runs/json-file';
import type { EvaluationText } from './evaluation-text';
import type { Measurement } from './progress';

interface Stored {
  readonly schema: number;
  /** By kind and form. */
  readonly measurements: Record<string, Partial<Record<WeightForm, Measurement & { readonly text: string }>>>;
}

const SCHEMA = 1;

export class Evaluations {
  private constructor(
    private readonly fileSystem: FileSystem,
    private readonly file: string,
    private readonly stored: Stored,
  ) {}

  static async open(fileSystem: FileSystem, runDirectory: string): Promise<Evaluations> {
    const file = path.join(runDirectory, 'evaluations.json');
    const value = await readJson(file);
    const usable = typeof value === 'object' && value !== null && 'schema' in value && value.schema === SCHEMA;
    return new Evaluations(fileSystem, file, usable ? (value as Stored) : { schema: SCHEMA, measurements: {} });
  }

  /** undefined: not measured, or on another text. */
  get(text: EvaluationText, form: WeightForm): Measurement | undefined {
    const found = this.stored.measurements[text.kind]?.[form];
    if (found?.text !== text.identity) return undefined;
    return { form, lossSum: found.lossSum, tokens: found.tokens };
  }

  async set(text: EvaluationText, measurement: Measurement): Promise<void> {
    const byForm = (this.stored.measurements[text.kind] ??= {});
    byForm[measurement.form] = { ...measurement, text: text.identity };
    await writeFileAtomic(this.fileSystem, this.file, jsonText(this.stored), { sync: true });
  }
}
