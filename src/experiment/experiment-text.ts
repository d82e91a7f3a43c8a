// Texts of new experiment files: what was chosen and nothing else, because everything else has a default.

export interface ExperimentText {
  /** Lines of the comment at the top. */
  readonly comments: readonly string[];
  /** As to be written: relative to the file, absolute, or a hub id. */
  readonly model: string;
  readonly train: readonly string[];
  readonly validation: readonly string[];
  /** Comment where no training text is known yet. */
  readonly trainHint: string;
  /** Further lines of the sections, as JSON without the last comma. */
  readonly data: readonly string[];
  readonly quantization: readonly string[];
  readonly training: readonly string[];
}

export function experimentText(text: ExperimentText): string {
  const { comments, model, train, validation, trainHint, data, quantization, training } = text;
  const list = (files: readonly string[]): string => `[${files.map((file) => JSON.stringify(file)).join(', ')}]`;
  const section = (name: string, lines: readonly string[]): string[] =>
    lines.length === 0 ? [] : [`  "${name}": {`, ...lines.map((line) => `    ${line}`), '  }'];
  const sections = [
    [`  "model": { "path": ${JSON.stringify(model)} }`],
    section('data', [
      ...(train.length === 0 ? [`// ${trainHint}`] : []),
      `"train": ${list(train.length === 0 ? ['train.txt'] : train)},`,
      `"validation": ${list(validation.length === 0 ? ['validation.txt'] : validation)}${data.length > 0 ? ',' : ''}`,
      ...data,
    ]),
    section('quantization', quantization),
    section('training', training),
  ].filter((lines) => lines.length > 0);
  const body = sections.map((lines) => lines.join('\n')).join(',\n');
  return `${comments.map((line) => `// ${line}\n`).join('')}{\n${body}\n}\n`;
}
