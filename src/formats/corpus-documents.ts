// Documents of a corpus file, streamed. What a document is depends on the file and on what it is for:
//   .jsonl, .parquet   every row
//   .txt               the whole file ("file"); the paragraphs between blank lines, for packing "documents" ("paragraphs");
//                      every line with its line feed, for the WikiText protocol ("lines", see wikitext.ts)
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { UserError, messageOf } from '../errors';
import type { CorpusFile } from './corpus-files';
import { utf8Chunks, utf8Lines } from './utf8-reader';
import { wikitextRow } from './wikitext';

/** Bytes of a document (whole characters), in order. A long document comes in several parts. */
export interface DocumentPart {
  readonly bytes: Uint8Array;
  readonly starts: boolean;
  readonly ends: boolean;
  /** Bytes of the file read by now, for progress. */
  readonly fileBytes: number;
}

export type TextRows = 'file' | 'paragraphs' | 'lines';

export interface DocumentOptions {
  readonly textRows: TextRows;
  /** Field of .jsonl lines, column of .parquet files. */
  readonly field: string;
}

export function documentParts(file: CorpusFile, options: DocumentOptions): AsyncGenerator<DocumentPart> {
  switch (file.kind) {
    case 'jsonl':
      return jsonlDocuments(file.file, options.field);
    case 'parquet':
      return parquetDocuments(file, options.field);
    case 'text':
      if (options.textRows === 'file') return wholeFile(file.file);
      return options.textRows === 'paragraphs' ? paragraphs(file.file) : lines(file.file);
    case 'tokens':
      throw new Error(`${file.file} holds ids, not text`);
  }
}

/** The documents as strings: for small files and tests. */
export async function* documents(file: CorpusFile, options: DocumentOptions): AsyncGenerator<string> {
  let parts: Uint8Array[] = [];
  for await (const part of documentParts(file, options)) {
    parts.push(part.bytes);
    if (!part.ends) continue;
    yield Buffer.concat(parts).toString('utf8');
    parts = [];
  }
}

async function* wholeFile(file: string): AsyncGenerator<DocumentPart> {
  let fileBytes = 0;
  for await (const bytes of utf8Chunks(file)) {
    yield { bytes, starts: fileBytes === 0, ends: false, fileBytes: fileBytes + bytes.length };
    fileBytes += bytes.length;
  }
  yield { bytes: new Uint8Array(0), starts: fileBytes === 0, ends: true, fileBytes };
}

/** A line of nothing but spaces, tabs and a carriage return ends a paragraph; the line feed before it is not part of it. */
async function* paragraphs(file: string): AsyncGenerator<DocumentPart> {
  let fileBytes = 0;
  let inside = false;
  for await (const { bytes } of utf8Lines(file)) {
    fileBytes += bytes.length + 1;
    if (isBlank(bytes)) {
      if (inside) yield { bytes: new Uint8Array(0), starts: false, ends: true, fileBytes };
      inside = false;
      continue;
    }
    yield { bytes: inside ? Buffer.concat([LINE_FEED, bytes]) : bytes, starts: !inside, ends: false, fileBytes };
    inside = true;
  }
  if (inside) yield { bytes: new Uint8Array(0), starts: false, ends: true, fileBytes };
}

const LINE_FEED = Buffer.from('\n');

function isBlank(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);
}

async function* lines(file: string): AsyncGenerator<DocumentPart> {
  let fileBytes = 0;
  for await (const { bytes, ended } of utf8Lines(file)) {
    fileBytes += bytes.length + 1;
    const row = wikitextRow(ended ? Buffer.concat([bytes, LINE_FEED]) : bytes);
    yield { bytes: row, starts: true, ends: true, fileBytes };
  }
}

async function* jsonlDocuments(file: string, field: string): AsyncGenerator<DocumentPart> {
  let fileBytes = 0;
  for await (const { bytes, number } of utf8Lines(file)) {
    fileBytes += bytes.length + 1;
    if (isBlank(bytes)) continue;
    const text = textOfRow(bytes.toString('utf8'), field, `${file}:${String(number)}`);
    // Escaped lone surrogates have no UTF-8 form and become U+FFFD here.
    yield { bytes: Buffer.from(text, 'utf8'), starts: true, ends: true, fileBytes };
  }
}

function textOfRow(json: string, field: string, where: string): string {
  let row: unknown;
  try {
    row = JSON.parse(json);
  } catch (error) {
    throw new UserError('CorpusInvalid', `${where}: not valid JSON (${messageOf(error)})`, {
      hint: 'A .jsonl file has one JSON object a line.',
      cause: error,
    });
  }
  if (typeof row !== 'object' || row === null || Array.isArray(row)) {
    throw new UserError('CorpusInvalid', `${where}: expected a JSON object with the field "${field}"`);
  }
  const value = Object.hasOwn(row, field) ? (row as Record<string, unknown>)[field] : undefined;
  if (typeof value === 'string') return value;
  const found =
    value === undefined ? 'is missing' : `is ${value === null ? 'null' : `a ${typeof value}`}, not a string`;
  throw new UserError('CorpusInvalid', `${where}: the field "${field}" ${found}`, {
    hint: `Fields of this line: ${Object.keys(row).join(', ')}. Choose one with data.field.`,
  });
}

async function* parquetDocuments({ file, bytes: size }: CorpusFile, field: string): AsyncGenerator<DocumentPart> {
  const damaged = (error: unknown): UserError =>
    new UserError('CorpusInvalid', `${file}: not a readable Parquet file (${messageOf(error)})`, { cause: error });
  const buffer = await asyncBufferFromFile(file);
  const metadata = await parquetMetadataAsync(buffer).catch((error: unknown) => {
    throw damaged(error);
  });
  const columns = parquetSchema(metadata).children.map((column) => column.element.name);
  if (!columns.includes(field)) {
    throw new UserError('CorpusInvalid', `${file}: no column "${field}"`, {
      hint: `Columns: ${columns.join(', ')}. Choose one with data.field.`,
    });
  }
  const rows = Number(metadata.num_rows);
  let row = 0;
  // One row group at a time: the unit in which the format can be read.
  for (const group of metadata.row_groups) {
    const rowEnd = row + Number(group.num_rows);
    const objects = await parquetReadObjects({
      file: buffer,
      metadata,
      columns: [field],
      rowStart: row,
      rowEnd,
      compressors,
    }).catch((error: unknown) => {
      throw damaged(error);
    });
    for (const object of objects) {
      row++;
      const text: unknown = object[field];
      if (typeof text !== 'string') {
        throw new UserError(
          'CorpusInvalid',
          `${file}: row ${String(row)}: column "${field}" holds ${text === null ? 'null' : typeof text}, not text`,
        );
      }
      const fileBytes = Math.round((size * row) / rows);
      yield { bytes: Buffer.from(text, 'utf8'), starts: true, ends: true, fileBytes };
    }
    if (row !== rowEnd) throw damaged('it has fewer rows than its header says');
  }
}
