// What validation says about an experiment file; the editor, the command line and the trainer show the same objects.

/** Replace `length` characters at `offset` (UTF-16 units of the file's text) by `text`. */
export interface TextEdit {
  readonly offset: number;
  readonly length: number;
  readonly text: string;
}

/** A change that a tool can apply by itself; the edits do not overlap. */
export interface Fix {
  readonly title: string;
  readonly edits: readonly TextEdit[];
}

/** Place in a text; lines and columns count from 1, columns in UTF-16 units, the end is exclusive. */
export interface SourceRange {
  readonly line: number;
  readonly column: number;
  readonly endLine: number;
  readonly endColumn: number;
}

export interface Problem extends SourceRange {
  readonly file: string;
  /** Key path such as `training.steps` or `quantization.layers[1].match`; empty for the file as a whole. */
  readonly path: string;
  /** One sentence with the key, the value and what would work. */
  readonly message: string;
  /** Advice or reason behind the message. */
  readonly hint?: string;
  readonly severity: 'error' | 'warning';
  /** The offending value as it stands in the file. */
  readonly value?: unknown;
  readonly fixes?: readonly Fix[];
}

export type PathSegment = string | number;
export type KeyPath = readonly PathSegment[];

/** `['quantization', 'layers', 1, 'match']` → `quantization.layers[1].match`. */
export function pathText(path: KeyPath): string {
  return path
    .map((segment, index) =>
      typeof segment === 'number' ? `[${String(segment)}]` : index === 0 ? segment : `.${segment}`,
    )
    .join('');
}
