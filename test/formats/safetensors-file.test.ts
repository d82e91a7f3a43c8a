import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import safetensors from 'safetensors';
import {
  alignmentOf,
  bf16ToFloat32,
  float32ToBf16,
  fp16ToFloat32,
  nodeFileSystem,
  readTensor,
  SAFETENSORS_DTYPES,
  SafetensorsFile,
  writeSafetensors,
  type FileSystem,
  type OpenFile,
  type TensorToWrite,
} from '../../src/formats';
import { refuses, temporaryFolder } from './support';

const TENSORS: readonly TensorToWrite[] = [
  { name: 'bytes', dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 255) },
  { name: 'half', dtype: 'F16', shape: [3, 1], data: Uint16Array.of(0x3c00, 0xc000, 0x0001) },
  { name: 'brain', dtype: 'BF16', shape: [2], data: Uint16Array.of(0x3f80, 0xc000) },
  { name: 'float', dtype: 'F32', shape: [2, 2], data: Float32Array.of(1, -2, 3.5, NaN) },
  { name: 'signed', dtype: 'I8', shape: [1], data: Int8Array.of(-128) },
  { name: 'short', dtype: 'I16', shape: [1], data: Int16Array.of(-32768) },
  { name: 'int', dtype: 'I32', shape: [1], data: Int32Array.of(-(2 ** 31)) },
  { name: 'long', dtype: 'I64', shape: [1], data: BigInt64Array.of(-(2n ** 63n)) },
  { name: 'double', dtype: 'F64', shape: [], data: Float64Array.of(Math.PI) },
  { name: 'empty', dtype: 'F32', shape: [0, 7], data: new Float32Array(0) },
];

test('all element types come back as they went', async (context) => {
  const file = path.join(temporaryFolder(context), 'x.safetensors');
  await writeSafetensors(file, TENSORS, { metadata: { format: 'pt', step: '7' } });
  const opened = await SafetensorsFile.open(file);
  context.after(() => opened.close());
  assert.deepEqual({ ...opened.metadata }, { format: 'pt', step: '7' });
  for (const { name, dtype, shape, data } of TENSORS) {
    const info = opened.info(name);
    assert.deepEqual([info.dtype, info.shape], [dtype, shape]);
    assert.deepEqual(await opened.readTensor(name), data);
    assert.equal(info.offset % alignmentOf(dtype), 0, `${name} is aligned`);
  }
  assert.equal(opened.header.dataOffset % 8, 0);
  assert.deepEqual(await readTensor(file, 'int'), Int32Array.of(-(2 ** 31)));
  assert.deepEqual(await opened.readTensorAs('long', 'I64'), BigInt64Array.of(-(2n ** 63n)));
  assert.deepEqual(await opened.readBytes('float', 4, 8), new Uint8Array(Float32Array.of(-2).buffer));
  await refuses(() => opened.readTensorAs('long', 'I32'), /tensor "long" is I64, expected I32/);
  await refuses(() => opened.readFloat32('int'), /tensor "int" is I32/);
  await refuses(() => opened.readTensor('none'), /no tensor "none"/);
});

test('the npm package safetensors, which shares no code with this, reads our files', async (context) => {
  const file = path.join(temporaryFolder(context), 'x.safetensors');
  // That reader takes __metadata__ for a tensor, so there is none here.
  await writeSafetensors(file, TENSORS);
  const other = new safetensors.SafeTensor(new Uint8Array(readFileSync(file)));
  assert.equal(other.metadata.size, TENSORS.length);
  for (const { name, dtype, shape, data } of TENSORS) {
    const { dtype: otherType, shape: otherShape } = other.metadata.get(name)!;
    assert.deepEqual([otherType, otherShape], [dtype, shape]);
    const view = data as ArrayBufferView;
    assert.deepEqual(Buffer.from(other.getTensor(name)), Buffer.from(view.buffer, view.byteOffset, view.byteLength));
  }
});

test('data are asked for one tensor after the other, and the bytes depend on the input alone', async (context) => {
  const folder = temporaryFolder(context);
  const order: string[] = [];
  const parts = async function* (name: string): AsyncGenerator<Float32Array> {
    order.push(`${name} begins`);
    yield Float32Array.of(1, 2);
    await new Promise((resolve) => setImmediate(resolve));
    yield Float32Array.of(3);
    order.push(`${name} ends`);
  };
  const tensors = ['a', 'b'].map((name) => ({ name, dtype: 'F32', shape: [3], data: () => parts(name) }) as const);
  await writeSafetensors(path.join(folder, 'one'), tensors);
  assert.deepEqual(order, ['a begins', 'a ends', 'b begins', 'b ends']);
  await writeSafetensors(
    path.join(folder, 'other'),
    ['a', 'b'].map((name) => ({ name, dtype: 'F32', shape: [3], data: Float32Array.of(1, 2, 3) })),
  );
  assert.deepEqual(readFileSync(path.join(folder, 'one')), readFileSync(path.join(folder, 'other')));
});

test('data of the wrong length, names given twice and impossible shapes are mistakes of the caller', async (context) => {
  const folder = temporaryFolder(context);
  const file = path.join(folder, 'x');
  const write = (...tensors: Partial<TensorToWrite>[]): Promise<void> =>
    writeSafetensors(
      file,
      tensors.map((tensor) => ({ name: 'a', dtype: 'F32', shape: [2], data: new Float32Array(2), ...tensor })),
    );
  await assert.rejects(write({ shape: [3] }), /tensor a: 8 of 12 bytes/);
  await assert.rejects(write({ shape: [1] }), /tensor a: more than 4 bytes/);
  await assert.rejects(write({ shape: [-1] }), /shape \[-1\]/);
  await assert.rejects(write({}, {}), /given twice/);
  await assert.rejects(write({ name: '__metadata__' }), /reserved/);
  await assert.rejects(write({ data: () => Promise.reject(new Error('no data')) }), /no data/);
  assert.deepEqual(readdirSync(folder), []);
});

/** Counts the calls that change the disk and makes the `failing`th fail with `code`. */
function faultyFileSystem(failing: number, code: string): { fileSystem: FileSystem; calls: () => number } {
  let calls = 0;
  const guard = async <Result>(body: () => Promise<Result>): Promise<Result> => {
    if (++calls === failing) throw Object.assign(new Error(`${code}: injected`), { code });
    return body();
  };
  const wrapFile = (file: OpenFile): OpenFile => ({
    read: (...args) => file.read(...args),
    // Short writes are what a nearly full disk gives.
    write: (buffer, offset, length, position) =>
      guard(() => file.write(buffer, offset, Math.min(length, 100), position)),
    stat: () => file.stat(),
    truncate: (length) => guard(() => file.truncate(length)),
    datasync: () => guard(() => file.datasync()),
    close: async () => {
      await file.close();
      await guard(() => Promise.resolve());
    },
  });
  const fileSystem: FileSystem = {
    ...nodeFileSystem,
    open: (file, flags) => guard(async () => wrapFile(await nodeFileSystem.open(file, flags))),
    rename: (from, to) => guard(() => nodeFileSystem.rename(from, to)),
    syncFolder: (folder) => guard(() => nodeFileSystem.syncFolder(folder)),
  };
  return { fileSystem, calls: () => calls };
}

test('a fault at any call leaves the old file or the new one, whole, and no other', async (context) => {
  const folder = temporaryFolder(context);
  const file = path.join(folder, 'x.safetensors');
  const old = Buffer.from('old contents');
  const clean = faultyFileSystem(0, '');
  await writeSafetensors(file, TENSORS, { fileSystem: clean.fileSystem });
  const complete = readFileSync(file);
  const calls = clean.calls();
  assert.ok(calls > 15, 'headers and tensors are written in several calls');
  for (let failing = 1; failing <= calls; failing++) {
    writeFileSync(file, old);
    const { fileSystem } = faultyFileSystem(failing, failing % 2 === 0 ? 'ENOSPC' : 'EIO');
    await assert.rejects(writeSafetensors(file, TENSORS, { fileSystem }), /injected/);
    // Only the last call, the folder's sync, comes after the rename.
    assert.deepEqual(readFileSync(file), failing === calls ? complete : old, `call ${String(failing)}`);
    assert.deepEqual(readdirSync(folder), ['x.safetensors']);
  }
});

test('16-bit floats as float32', () => {
  const half = Uint16Array.of(0x0000, 0x8000, 0x3c00, 0x3555, 0x7bff, 0x0400, 0x0001, 0x83ff, 0x7c00, 0xfc00);
  // Values of IEEE 754 binary16 by hand: ±0, 1, nearest to 1/3, largest, smallest normal, subnormals, infinities.
  const values = [0, -0, 1, 1365 / 4096, 65504, 2 ** -14, 2 ** -24, -1023 * 2 ** -24, Infinity, -Infinity];
  assert.deepEqual([...fp16ToFloat32(half)], values);
  assert.ok(Number.isNaN(fp16ToFloat32(Uint16Array.of(0x7e00))[0]));
  assert.deepEqual([...bf16ToFloat32(Uint16Array.of(0x3f80, 0xc040, 0x0001, 0x7f80))], [1, -3, 2 ** -133, Infinity]);
});

test('float32 to bfloat16 rounds to nearest even, and is exact for what bfloat16 holds', () => {
  // 1 + 2^-8 lies in the middle of 1 and 1 + 2^-7: even is 1. 1 + 3·2^-8 goes up to 1 + 2^-6.
  const rounded = bf16ToFloat32(
    float32ToBf16(Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, 3.4e38)),
  );
  assert.deepEqual([...rounded], [1, 1 + 2 ** -6, 1 + 2 ** -7, Infinity]);
  const nan = new Float32Array(Uint32Array.of(0x7f800001).buffer);
  assert.ok(Number.isNaN(bf16ToFloat32(float32ToBf16(nan))[0]));
  const all = Uint16Array.from({ length: 0x7f80 }, (_, bits) => bits);
  assert.deepEqual(float32ToBf16(bf16ToFloat32(all)), all);
});

test('files written by the reference implementation are read', { skip: noModel() }, async () => {
  const opened = await SafetensorsFile.open(MODEL);
  const norm = await opened.readFloat32('model.norm.weight');
  await opened.close();
  assert.equal(norm.length, 192);
  assert.ok(norm.every((value) => Number.isFinite(value) && value !== 0));
});

const MODEL = 'samples/first-run/model/model.safetensors';
function noModel(): string | false {
  return existsSync('samples/first-run/model/model.safetensors') ? false : 'the sample model is not there';
}

test('every type of the specification has a size', () => {
  assert.equal(SAFETENSORS_DTYPES.length, 22);
});
