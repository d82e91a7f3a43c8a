// The header of a safetensors file: parsed from its bytes and checked as the format's specification asks, so that whoever maps
// the file later can trust every offset. https://github.com/huggingface/safetensors#format
import { UserError } from '../errors';
import { firstDuplicateKey } from './json-duplicates';
import { byteSize, isSafetensorsDType, SAFETENSORS_DTYPES, type SafetensorsDType } from './safetensors-dtype';
import { isObject, quote, showValue } from './show-value';

export interface SafetensorsTensor {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** Byte offset from the start of the file. Usually a multiple of the element size, but the format does not promise it. */
  readonly offset: number;
  readonly bytes: number;
}

export interface SafetensorsHeader {
  /** By name, in the order of their bytes in the file. */
  readonly tensors: ReadonlyMap<string, SafetensorsTensor>;
  readonly metadata: Readonly<Record<string, string>>;
  /** Where tensor bytes begin: 8 + header length. */
  readonly dataOffset: number;
}

/** Bytes before the header: its length, unsigned 64-bit little-endian. */
export const LENGTH_BYTES = 8;

/** The specification's bound on the header, against files that ask a reader for gigabytes. */
export const MAX_HEADER_BYTES = 100_000_000;

export function invalid(file: string, what: string, hint?: string): UserError {
  return new UserError('SafetensorsInvalid', `${file}: ${what}`, {
    hint: hint ?? 'The file is damaged or not a safetensors file: download or save it again.',
  });
}

/** Header length from the first 8 bytes of a file of `fileBytes`. */
export function parseHeaderLength(bytes: Uint8Array, fileBytes: number, file: string): number {
  if (bytes.length < LENGTH_BYTES) {
    throw invalid(file, `${String(bytes.length)} bytes, too short for a safetensors file (header length and header)`);
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw invalid(file, `header length ${String(length)} is above the format's limit of ${String(MAX_HEADER_BYTES)}`);
  }
  if (length > BigInt(fileBytes - LENGTH_BYTES)) {
    throw invalid(
      file,
      `header length ${String(length)} reaches past the end of the file (${String(fileBytes)} bytes)`,
    );
  }
  if (length < 2n) throw invalid(file, `header length ${String(length)}: not even an empty JSON object fits`);
  return Number(length);
}

/** Checks everything that the specification demands of a header.
 *  @param bytes the header alone, without its length
 *  @throws UserError SafetensorsInvalid naming file, tensor and value */
export function parseHeader(bytes: Uint8Array, fileBytes: number, file: string): SafetensorsHeader {
  if (bytes[0] !== 0x7b) throw invalid(file, "header does not begin with '{'");
  const entries = parseJsonObject(bytes, file);
  const dataOffset = LENGTH_BYTES + bytes.length;
  const dataBytes = fileBytes - dataOffset;
  let metadata: Record<string, string> = {};
  const tensors: SafetensorsTensor[] = [];
  for (const [name, value] of Object.entries(entries)) {
    if (name === '__metadata__') metadata = parseMetadata(value, file);
    else tensors.push(parseTensor(name, value, dataOffset, dataBytes, file));
  }
  tensors.sort((one, other) => one.offset - other.offset || one.bytes - other.bytes);
  checkCoverage(tensors, dataOffset, dataBytes, file);
  return { tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])), metadata, dataOffset };
}

function parseJsonObject(bytes: Uint8Array, file: string): object {
  let text: string;
  try {
    // A byte order mark would be no '{', so there is none to skip.
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) throw invalid(file, 'header is not valid UTF-8');
    throw error;
  }
  let value: unknown;
  try {
    // Spaces after the object are allowed (writers pad with them); JSON.parse takes those as it takes other white space.
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(file, `header is not valid JSON (${error instanceof Error ? error.message.slice(0, 200) : ''})`);
  }
  if (!isObject(value)) throw invalid(file, 'header is not a JSON object');
  const duplicate = firstDuplicateKey(text);
  if (duplicate !== null) throw invalid(file, `header has the key ${quote(duplicate)} twice`);
  return value;
}

function parseMetadata(value: unknown, file: string): Record<string, string> {
  if (value === null) return {};
  if (!isObject(value)) {
    throw invalid(file, `__metadata__ is ${showValue(value)}, must be an object of strings`);
  }
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string')
      throw invalid(file, `__metadata__ ${quote(key)} is ${showValue(text)}, must be a string`);
  }
  return value as Record<string, string>;
}

function parseTensor(
  name: string,
  value: unknown,
  dataOffset: number,
  dataBytes: number,
  file: string,
): SafetensorsTensor {
  const fail = (what: string): UserError => invalid(file, `tensor ${quote(name)}: ${what}`);
  if (!isObject(value)) {
    throw fail(`${showValue(value)}, must be an object with dtype, shape and data_offsets`);
  }
  // Other fields are ignored, as the reference implementation does.
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isSafetensorsDType(dtype)) {
    throw fail(`dtype ${showValue(dtype)} is not one of ${SAFETENSORS_DTYPES.join(', ')}`);
  }
  if (!isCounts(shape)) throw fail(`shape ${showValue(shape)} must be a list of non-negative integers`);
  if (!isCounts(offsets) || offsets.length !== 2) {
    throw fail(`data_offsets ${showValue(offsets)} must be two non-negative integers`);
  }
  const [begin = 0, end = 0] = offsets;
  if (begin > end) throw fail(`data_offsets ${showValue(offsets)}: begins after its end`);
  if (end > dataBytes) {
    throw fail(
      `data_offsets ${showValue(offsets)} reach past the data (${String(dataBytes)} bytes): the file is cut short`,
    );
  }
  const bytes = byteSize(dtype, shape);
  if (bytes === null) throw fail(`shape ${showValue(shape)} of ${dtype} is not a countable number of whole bytes`);
  if (bytes !== end - begin) {
    throw fail(
      `data_offsets ${showValue(offsets)} hold ${String(end - begin)} bytes, shape ${showValue(shape)} of ${dtype} needs ${String(bytes)}`,
    );
  }
  return { name, dtype, shape, offset: dataOffset + begin, bytes };
}

/** Sorted tensors must lie edge to edge over all of the data: bytes that belong to nobody could hide another file. */
function checkCoverage(
  tensors: readonly SafetensorsTensor[],
  dataOffset: number,
  dataBytes: number,
  file: string,
): void {
  let end = dataOffset;
  let previous: SafetensorsTensor | undefined;
  for (const tensor of tensors) {
    const at = String(tensor.offset - dataOffset);
    if (tensor.offset < end) {
      const other = previous === undefined ? '' : ` of ${quote(previous.name)}`;
      throw invalid(file, `tensor ${quote(tensor.name)}: begins at ${at}, inside the bytes${other}`);
    }
    if (tensor.offset > end) {
      throw invalid(
        file,
        `tensor ${quote(tensor.name)}: begins at ${at}, leaving a gap from ${String(end - dataOffset)}`,
      );
    }
    end = tensor.offset + tensor.bytes;
    previous = tensor;
  }
  if (end !== dataOffset + dataBytes) {
    throw invalid(
      file,
      `${String(dataOffset + dataBytes - end)} bytes at the end belong to no tensor (${String(tensors.length)} tensors end at ${String(end - dataOffset)} of ${String(dataBytes)})`,
    );
  }
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((count) => Number.isSafeInteger(count) && count >= 0);
}
