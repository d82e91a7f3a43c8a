import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { readHeader } from '../../src/formats';
import { rawSafetensors, refuses, temporaryFolder } from './support';

const f32 = (begin: number, end: number, shape: unknown = [(end - begin) / 4]): unknown => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
});

/** What is wrong, the file's bytes, and what the message must name. */
const REFUSED: readonly (readonly [string, Buffer, RegExp])[] = [
  ['an empty file', Buffer.alloc(0), /0 bytes, too short/],
  ['a file shorter than the length', Buffer.alloc(7), /7 bytes, too short/],
  ['a length above the format’s limit', rawSafetensors('{}', 0, 100_000_001n), /100000001 is above .* 100000000/],
  ['a length of 2^64 − 1', rawSafetensors('{}', 0, 2n ** 64n - 1n), /18446744073709551615/],
  ['a length past the end', rawSafetensors('{}', 3, 6n), /length 6 reaches past the end .*13 bytes/],
  ['no header', rawSafetensors('', 0), /length 0/],
  ['a header that begins with a space', rawSafetensors(' {}', 0), /does not begin with '\{'/],
  ['a byte order mark', rawSafetensors('\ufeff{}', 0), /does not begin with '\{'/],
  ['a header cut short', rawSafetensors('{"a":', 0), /not valid JSON/],
  ['a list', rawSafetensors('[]', 0), /does not begin/],
  ['two objects', rawSafetensors('{}{}', 0), /not valid JSON/],
  ['a comment', rawSafetensors('{/**/}', 0), /not valid JSON/],
  [
    'bytes that are not UTF-8',
    Buffer.concat([rawSafetensors('{}', 0, 3n).subarray(0, 9), Buffer.from([0xff, 0x7d])]),
    /UTF-8/,
  ],
  [
    'a tensor twice',
    rawSafetensors(
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
      1,
    ),
    /key "a" twice/,
  ],
  [
    'a tensor twice, spelt differently',
    rawSafetensors(
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
      1,
    ),
    /key "a" twice/,
  ],
  [
    'a field twice',
    rawSafetensors('{"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}}', 1),
    /key "shape" twice/,
  ],
  ['metadata that is no object', rawSafetensors({ __metadata__: 'x' }, 0), /__metadata__ is "x"/],
  ['metadata with a number', rawSafetensors({ __metadata__: { step: 1 } }, 0), /__metadata__ "step" is 1/],
  ['metadata nested', rawSafetensors({ __metadata__: { a: { b: 'c' } } }, 0), /__metadata__ "a"/],
  ['a tensor that is null', rawSafetensors({ a: null }, 0), /tensor "a": null/],
  ['a tensor that is a list', rawSafetensors({ a: [] }, 0), /tensor "a": \[\]/],
  [
    'an unknown type',
    rawSafetensors({ a: { dtype: 'F33', shape: [1], data_offsets: [0, 1] } }, 1),
    /tensor "a": dtype "F33" is not one of .*BF16/,
  ],
  [
    'a type from Object.prototype',
    rawSafetensors({ a: { dtype: 'constructor', shape: [1], data_offsets: [0, 1] } }, 1),
    /dtype "constructor"/,
  ],
  [
    'a type in small letters',
    rawSafetensors({ a: { dtype: 'f32', shape: [1], data_offsets: [0, 4] } }, 4),
    /dtype "f32"/,
  ],
  ['no type', rawSafetensors({ a: { shape: [1], data_offsets: [0, 4] } }, 4), /dtype missing/],
  ['a negative size', rawSafetensors({ a: f32(0, 4, [-1]) }, 4), /shape \[-1\]/],
  ['a fractional size', rawSafetensors({ a: f32(0, 4, [1.5]) }, 4), /shape \[1.5\]/],
  ['a size as text', rawSafetensors({ a: f32(0, 4, ['1']) }, 4), /shape \["1"\]/],
  [
    'a size past 2^53',
    rawSafetensors('{"a":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,1]}}', 1),
    /shape \[9007199254740992\]/,
  ],
  ['sizes whose product overflows', rawSafetensors({ a: f32(0, 4, [2 ** 40, 2 ** 40]) }, 4), /not a countable number/],
  [
    'half a byte',
    rawSafetensors({ a: { dtype: 'F4', shape: [3], data_offsets: [0, 1] } }, 1),
    /not a countable number of whole bytes/,
  ],
  ['no shape', rawSafetensors({ a: { dtype: 'F32', data_offsets: [0, 4] } }, 4), /shape missing/],
  ['no offsets', rawSafetensors({ a: { dtype: 'F32', shape: [1] } }, 4), /data_offsets missing/],
  [
    'three offsets',
    rawSafetensors({ a: { dtype: 'F32', shape: [1], data_offsets: [0, 4, 8] } }, 4),
    /data_offsets \[0, 4, 8\]/,
  ],
  [
    'offsets in the wrong order',
    rawSafetensors({ a: { dtype: 'F32', shape: [1], data_offsets: [4, 0] } }, 4),
    /begins after its end/,
  ],
  [
    'an offset past the data',
    rawSafetensors({ a: f32(0, 8) }, 4),
    /reach past the data \(4 bytes\): the file is cut short/,
  ],
  ['bytes that do not match', rawSafetensors({ a: f32(0, 8, [1]) }, 8), /hold 8 bytes, shape \[1\] of F32 needs 4/],
  [
    'an overlap',
    rawSafetensors({ a: f32(0, 8), b: f32(4, 12) }, 12),
    /tensor "b": begins at 4, inside the bytes of "a"/,
  ],
  ['the same bytes twice', rawSafetensors({ a: f32(0, 8), b: f32(0, 8) }, 8), /tensor "b": begins at 0, inside/],
  ['a gap', rawSafetensors({ a: f32(0, 4), b: f32(8, 12) }, 12), /tensor "b": begins at 8, leaving a gap from 4/],
  ['a gap at the start', rawSafetensors({ a: f32(4, 8) }, 8), /tensor "a": begins at 4, leaving a gap from 0/],
  ['bytes at the end', rawSafetensors({ a: f32(0, 4) }, 5), /1 bytes at the end belong to no tensor/],
  ['data without tensors', rawSafetensors({}, 1), /1 bytes at the end/],
  ['a very deep header', rawSafetensors(`{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}`, 0), /tensor "a"/],
  [
    'a very deep duplicate',
    rawSafetensors(
      `{"a":${'{"x":'.repeat(100_000)}1${'}'.repeat(100_000)},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`,
      0,
    ),
    /key "a" twice/,
  ],
];

for (const [what, bytes, pattern] of REFUSED) {
  test(`refused: ${what}`, async (context) => {
    const file = path.join(temporaryFolder(context), 'x.safetensors');
    writeFileSync(file, bytes);
    const error = await refuses(() => readHeader(file), pattern);
    assert.equal(error.code, 'SafetensorsInvalid');
    assert.ok(error.message.startsWith(file), 'the file is named');
    assert.ok(error.message.length < file.length + 500, 'a hostile file does not flood the terminal');
  });
}

const ACCEPTED: readonly (readonly [string, Buffer, Readonly<Record<string, number>>])[] = [
  ['no tensors', rawSafetensors({}, 0), {}],
  ['spaces after the header', rawSafetensors(`${JSON.stringify({ a: f32(0, 4) })}     `, 4), { a: 4 }],
  ['only metadata', rawSafetensors({ __metadata__: { a: 'b' } }, 0), {}],
  [
    'fields of a later version',
    rawSafetensors({ a: { dtype: 'U8', shape: [1], data_offsets: [0, 1], x: 1 } }, 1),
    { a: 1 },
  ],
  ['metadata that is null', rawSafetensors({ __metadata__: null }, 0), {}],
  ['a scalar', rawSafetensors({ a: f32(0, 4, []) }, 4), { a: 4 }],
  [
    'empty tensors between others',
    rawSafetensors({ b: f32(4, 8), e: f32(4, 4, [0, 2 ** 50]), a: f32(0, 4) }, 8),
    { a: 4, e: 0, b: 4 },
  ],
  [
    'a tensor that is not aligned',
    rawSafetensors({ a: { dtype: 'U8', shape: [1], data_offsets: [0, 1] }, b: f32(1, 5) }, 5),
    { a: 1, b: 4 },
  ],
  [
    'names that objects have',
    rawSafetensors(`{"__proto__":${JSON.stringify(f32(0, 4))},"constructor":${JSON.stringify(f32(4, 8))}}`, 8),
    { ['__proto__']: 4, constructor: 4 },
  ],
  ['two packed 4-bit numbers', rawSafetensors({ a: { dtype: 'F4', shape: [2], data_offsets: [0, 1] } }, 1), { a: 1 }],
];

for (const [what, bytes, sizes] of ACCEPTED) {
  test(`accepted: ${what}`, async (context) => {
    const file = path.join(temporaryFolder(context), 'x.safetensors');
    writeFileSync(file, bytes);
    const header = await readHeader(file);
    const found = [...header.tensors.values()].map((tensor) => [tensor.name, tensor.bytes]);
    assert.deepEqual(found.sort(), Object.entries(sizes).sort());
  });
}

test('what is not a file is refused at once', { skip: process.platform === 'win32' }, async (context) => {
  const folder = temporaryFolder(context);
  assert.equal((await refuses(() => readHeader(folder), /not a file/)).code, 'FileUnreadable');
  assert.equal((await refuses(() => readHeader(path.join(folder, 'none')), /no such file/)).code, 'FileMissing');
  const pipe = path.join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  assert.equal((await refuses(() => readHeader(pipe), /not a file/)).code, 'FileUnreadable');
});
