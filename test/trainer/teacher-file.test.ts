// The file that keeps what the float model gives: what is read is what was written, and nothing damaged is.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, renameSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type { TeacherRows } from '../../native/binding/addon';
import { UserError } from '../../src/errors';
import { nodeFileSystem } from '../../src/formats/file-system';
import {
  missingBytes,
  removeTeacher,
  teacherFile,
  TeacherReader,
  TeacherWriter,
  unfinishedTeacherFile,
  type TeacherDescription,
} from '../../src/trainer/teacher-file';
import { temporaryFolder } from './sample-run';

const small: TeacherDescription = {
  sequences: 7,
  sequenceLength: 3,
  topK: 2,
  temperature: 1.5,
  vocabSize: 500,
  order: 'training',
  seed: 4,
  data: 'tokens',
  base: 'digest',
};

/** Of sequences `first` to `first + count - 1`, each different. */
function rowsOf({ sequenceLength, topK, vocabSize }: TeacherDescription, first: number, count: number): TeacherRows {
  const ids = sequenceLength * topK;
  const logs = sequenceLength * (topK + 1);
  return {
    classes: Int32Array.from({ length: count * ids }, (_, i) => (first * ids * 7919 + i * 7919) % vocabSize),
    logProbabilities: Float32Array.from({ length: count * logs }, (_, i) =>
      i % (topK + 1) === topK && first === 0 ? Number.NEGATIVE_INFINITY : -(first * logs + i) / 3,
    ),
  };
}

async function write(folder: string, description: TeacherDescription, until: number, step = 2): Promise<TeacherWriter> {
  const writer = await TeacherWriter.open(nodeFileSystem, folder, description, step);
  while (writer.written < until) {
    const first = writer.written;
    await writer.add(rowsOf(description, first, Math.min(step, until - first)));
  }
  return writer;
}

async function readAll(folder: string, description: TeacherDescription): Promise<TeacherRows> {
  const reader = await TeacherReader.open(teacherFile(folder), description);
  assert.ok(reader);
  try {
    return await reader.read(Array.from({ length: description.sequences }, (_, i) => i));
  } finally {
    await reader.close();
  }
}

function assertRows(rows: TeacherRows, description: TeacherDescription, step = 2): void {
  const { sequenceLength, topK, sequences } = description;
  for (let first = 0; first < sequences; first += step) {
    const count = Math.min(step, sequences - first);
    const expected = rowsOf(description, first, count);
    const part = <T extends Int32Array | Float32Array>(values: T, width: number): T =>
      values.subarray(first * width, (first + count) * width) as T;
    assert.deepEqual(part(rows.classes, sequenceLength * topK), expected.classes);
    assert.deepEqual(part(rows.logProbabilities, sequenceLength * (topK + 1)), expected.logProbabilities);
  }
}

test('what is read is what was written, with ids of 16 and of 32 bits', async (context) => {
  for (const description of [small, { ...small, vocabSize: 130_000, topK: 5 }]) {
    const folder = temporaryFolder(context);
    const before = await missingBytes(folder, description);
    const writer = await write(folder, description, description.sequences);
    assert.ok(!existsSync(teacherFile(folder)), 'named before it is whole');
    await writer.finish();
    assert.ok(!existsSync(unfinishedTeacherFile(folder)));
    assert.equal(statSync(teacherFile(folder)).size, before, 'its size was foreseen');
    assertRows(await readAll(folder, description), description);
    const reader = await TeacherReader.open(teacherFile(folder), description);
    const [one] = [await reader!.read([3])];
    assert.deepEqual(one, { ...rowsOf(description, 2, 2), ...last(rowsOf(description, 2, 2), description) });
    await reader!.close();
    await removeTeacher(nodeFileSystem, folder);
    assert.ok(!existsSync(teacherFile(folder)));
  }
});

function last({ classes, logProbabilities }: TeacherRows, { sequenceLength, topK }: TeacherDescription): TeacherRows {
  return {
    classes: classes.slice(sequenceLength * topK),
    logProbabilities: logProbabilities.slice(sequenceLength * (topK + 1)),
  };
}

test('a file of something else is none', async (context) => {
  const folder = temporaryFolder(context);
  assert.equal(await TeacherReader.open(teacherFile(folder), small), null);
  await (await write(folder, small, small.sequences)).finish();
  for (const changes of [{ topK: 3 }, { temperature: 2 }, { data: 'others' }, { base: 'other' }, { order: 'corpus' }]) {
    const other = { ...small, ...changes } as TeacherDescription;
    assert.equal(await TeacherReader.open(teacherFile(folder), other), null, JSON.stringify(changes));
  }
  truncateSync(teacherFile(folder), statSync(teacherFile(folder)).size - 1);
  assert.equal(await TeacherReader.open(teacherFile(folder), small), null, 'too short');
});

test('a writer goes on behind what is whole, at a multiple of its step', async (context) => {
  const whole = temporaryFolder(context);
  await (await write(whole, small, small.sequences)).finish();
  const expected = readFileSync(teacherFile(whole));
  const record = (await missingBytes(whole, small)) - (await missingBytes(whole, { ...small, sequences: 6 }));
  const header = expected.length - 7 * record;
  const cuts: readonly (readonly [what: string, size: number, kept: number])[] = [
    ['nothing', 0, 0],
    ['half a header', header >> 1, 0],
    ['a header', header, 0],
    ['half a record', header + (record >> 1), 0],
    ['three records', header + 3 * record, 2],
    ['four and a half', header + 4 * record + 5, 4],
    ['all but a byte', expected.length - 1, 6],
    ['all, not yet named', expected.length, 7],
  ];
  for (const [what, size, kept] of cuts) {
    const folder = temporaryFolder(context);
    writeFileSync(unfinishedTeacherFile(folder), expected.subarray(0, size));
    const writer = await TeacherWriter.open(nodeFileSystem, folder, small, 2);
    assert.equal(writer.written, kept, what);
    await writer.close();
    await (await write(folder, small, small.sequences)).finish();
    assert.ok(readFileSync(teacherFile(folder)).equals(expected), what);
  }
});

test('a power failure may leave anything: what is not whole is written again', async (context) => {
  const folder = temporaryFolder(context);
  await (await write(folder, small, small.sequences)).finish();
  const expected = readFileSync(teacherFile(folder));
  renameSync(teacherFile(folder), unfinishedTeacherFile(folder));
  const damaged = Buffer.from(expected);
  damaged.fill(0, damaged.length >> 1, (damaged.length >> 1) + 10);
  writeFileSync(unfinishedTeacherFile(folder), damaged);
  const writer = await TeacherWriter.open(nodeFileSystem, folder, small, 2);
  assert.ok(writer.written < small.sequences, String(writer.written));
  await writer.close();
  await (await write(folder, small, small.sequences)).finish();
  assert.ok(readFileSync(teacherFile(folder)).equals(expected));
});

test('a damaged sequence is refused by name, and the others are read', async (context) => {
  const folder = temporaryFolder(context);
  await (await write(folder, small, small.sequences)).finish();
  const bytes = readFileSync(teacherFile(folder));
  bytes[bytes.length - 9]! ^= 1;
  writeFileSync(teacherFile(folder), bytes);
  const reader = await TeacherReader.open(teacherFile(folder), small);
  assert.ok(reader);
  try {
    await reader.read([0, 5]);
    await assert.rejects(
      reader.read([6]),
      (error) => error instanceof UserError && error.code === 'DamagedFile' && error.message.includes('sequence 6 '),
    );
  } finally {
    await reader.close();
  }
});
