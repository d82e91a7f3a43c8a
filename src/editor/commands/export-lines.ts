// What `lrqat export --json` prints, checked before it is used.

/** One format of the list. */
export interface Offer {
  readonly format: string;
  readonly loadedBy: string;
  /** Why it cannot be written; null: it can. */
  readonly obstacle: string | null;
  readonly exact: boolean;
  readonly losses: readonly string[];
  readonly warnings: readonly string[];
  readonly bytes: number;
  readonly stored: string;
}

type Line = Readonly<Record<string, unknown>>;

/** null: the line is another one. Formats that are not understood are left out. */
export function parseOffers(line: Line): readonly Offer[] | null {
  if (line['type'] !== 'formats' || !Array.isArray(line['formats'])) return null;
  return line['formats'].flatMap((value: unknown): Offer[] => {
    if (typeof value !== 'object' || value === null) return [];
    const { format, loadedBy, obstacle, exact, losses, warnings, bytes, stored } = value as Record<string, unknown>;
    if (typeof format !== 'string' || typeof exact !== 'boolean' || typeof bytes !== 'number') return [];
    return [
      {
        format,
        exact,
        bytes,
        obstacle: typeof obstacle === 'string' ? obstacle : null,
        loadedBy: typeof loadedBy === 'string' ? loadedBy : '',
        stored: typeof stored === 'string' ? stored : '',
        losses: texts(losses),
        warnings: texts(warnings),
      },
    ];
  });
}

/** What is said while an export runs: perplexity as trained and as exported; null: another line, or not finite. */
export function parseMeasured(line: Line): readonly [before: number, after: number] | null {
  const { type, before, after } = line;
  return type === 'measured' && typeof before === 'number' && typeof after === 'number' ? [before, after] : null;
}

export interface ExportedLine {
  readonly exact: boolean;
  readonly bytes: number;
  readonly losses: readonly string[];
}

/** null: the line is another one. */
export function parseExported(line: Line): ExportedLine | null {
  if (line['type'] !== 'exported') return null;
  const { exact, bytes, losses } = line;
  return { exact: exact === true, bytes: typeof bytes === 'number' ? bytes : 0, losses: texts(losses) };
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((text) => typeof text === 'string') : [];
}
