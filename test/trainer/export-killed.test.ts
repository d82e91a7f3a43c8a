// Exports that are killed: what stands under the name is whole, and the next export takes the rest away.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { before, test } from 'node:test';
import { UserError } from '../../src/errors';
import { nodeFileSystem } from '../../src/formats';
import type { FileSystem } from '../../src/formats/file-system';
import { runTrainer } from '../../src/trainer';
import { exportRun, measureOnly, type ExportOptions } from '../../src/trainer/export/export-run';
import { start } from '../cli/support';
import { newRun, sharedFolder, shortExperiment } from './sample-run';

const folder = sharedFolder();
let run: string;

before(async () => {
  const text = path.join(folder, 'text.txt');
  writeFileSync(text, readFileSync('samples/first-run/validation.txt').subarray(0, 2000));
  const experiment = shortExperiment({
    data: { train: [text], validation: [text], sequenceLength: 32 },
    quantization: { method: 'rtn', weights: { bits: 4 } },
    evaluation: { everySteps: 0, maxBatches: 1 },
  });
  run = await newRun(folder, experiment);
  assert.equal(await runTrainer(run), 'finished');
});

const sha256 = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

/** Whatever has its final name is whole, and what a manifest says is so. */
function assertWhole(place: string, expected: ReadonlyMap<string, string>): void {
  const isFile = place.endsWith('.gguf');
  const manifest = isFile ? `${place}.manifest.json` : path.join(place, 'manifest.json');
  if (!isFile && existsSync(place)) assert.ok(existsSync(manifest), 'a folder without its manifest');
  if (isFile && existsSync(place)) assert.ok([...expected.values()].includes(sha256(place)), 'half a file');
  if (!existsSync(manifest)) return;
  const { files } = JSON.parse(readFileSync(manifest, 'utf8')) as { files: { name: string; sha256: string }[] };
  for (const { name, sha256: hash } of files) {
    const file = !isFile ? path.join(place, name) : name.endsWith('.gguf') ? place : `${place}.${name}`;
    assert.equal(sha256(file), hash, name);
  }
}

/** As if the process were killed at the call of that number: it and all after it do nothing. */
function killedAt(call: number): { readonly fileSystem: FileSystem; readonly calls: () => number } {
  let calls = 0;
  const next = <T>(body: () => Promise<T>): Promise<T> =>
    calls++ < call ? body() : Promise.reject(new Error('killed'));
  return {
    calls: () => calls,
    fileSystem: {
      // What a file holds is nobody's business before its name: parts count as one with the opening.
      open: (...of) => next(() => nodeFileSystem.open(...of)),
      mkdir: (...of) => next(() => nodeFileSystem.mkdir(...of)),
      rename: (...of) => next(() => nodeFileSystem.rename(...of)),
      link: (...of) => next(() => nodeFileSystem.link(...of)),
      copyExclusive: (...of) => next(() => nodeFileSystem.copyExclusive(...of)),
      unlink: (...of) => next(() => nodeFileSystem.unlink(...of)),
      removeTree: (...of) => next(() => nodeFileSystem.removeTree(...of)),
      syncFolder: (...of) => next(() => nodeFileSystem.syncFolder(...of)),
    },
  };
}

/** The hidden folders beside a place, as left by a process that is gone. */
function abandon(parent: string): void {
  const hidden = readdirSync(parent).filter((name) => name.startsWith('.'));
  for (const name of hidden) {
    const file = path.join(parent, name, 'owner.json');
    if (!existsSync(file)) {
      utimesSync(path.join(parent, name), 0, 0);
      continue;
    }
    const owner = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    writeFileSync(file, JSON.stringify({ ...owner, processStart: 'long ago' }));
  }
}

for (const [format, name] of [
  ['lr-qat', 'folder'],
  ['gguf', 'file.gguf'],
] as const) {
  test(`${format}: killed at a change of the disk, what is there is whole and the next export clears up`, async () => {
    const place = path.join(folder, `killed-${format}`);
    mkdirSync(place);
    const out = path.join(place, name);
    const earlier = { run, out, format, force: true, ...(format === 'gguf' ? { type: 'Q8_0' } : {}) } as const;
    const later = { run, out, format, force: true } as const;
    const hashes = new Map<string, string>();
    for (const [label, options] of [
      ['later', later],
      ['earlier', earlier],
    ] as const) {
      await exportRun(options);
      hashes.set(label, sha256(format === 'gguf' ? out : path.join(out, 'model.safetensors')));
    }
    const whole = killedAt(Infinity);
    await exportRun({ ...later, fileSystem: whole.fileSystem });
    await exportRun(earlier);
    // Between the first calls and the last ones files are made in the hidden folder, one like the other.
    const last = whole.calls();
    for (const call of [0, 1, 2, 3, ...Array.from({ length: 14 }, (_, i) => last - 14 + i)]) {
      const { fileSystem } = killedAt(call);
      await assert.rejects(exportRun({ ...later, fileSystem }));
      assertWhole(out, hashes);
      abandon(place);
      // One that comes after it, stopped as soon as it has looked around, leaves what stands there and nothing hidden.
      const stop = AbortSignal.abort();
      await assert.rejects(exportRun({ ...later, signal: stop }), { name: 'AbortError' });
      assert.deepEqual(
        readdirSync(place).filter((entry) => entry.startsWith('.')),
        [],
        `hidden folders after call ${String(call)}`,
      );
      assert.ok(existsSync(out), `nothing under the name after call ${String(call)}`);
      assertWhole(out, hashes);
    }
    rmSync(place, { recursive: true });
  });
}

test('kill -9 at moments of its life leaves no half export, and the next one succeeds', async () => {
  const place = path.join(folder, 'kill-9');
  mkdirSync(place);
  const out = path.join(place, 'model.gguf');
  const args = ['export', run, '--format', 'gguf', '--out', out, '--force', '--no-measure', '--json'];
  const begun = performance.now();
  const whole = start(args);
  assert.equal((await whole.outcome).code, 0);
  const seconds = performance.now() - begun;
  const hashes = new Map([['whole', sha256(out)]]);
  // The second half is where it writes; how far each gets is chance.
  for (const share of [0.55, 0.7, 0.8, 0.9]) {
    const { child, outcome } = start(args);
    setTimeout(() => child.kill('SIGKILL'), share * seconds);
    await outcome;
    assertWhole(out, hashes);
  }
  assert.equal((await start(args).outcome).code, 0);
  assert.deepEqual(readdirSync(place).sort(), ['model.gguf', 'model.gguf.README.md', 'model.gguf.manifest.json']);
  assertWhole(out, hashes);
});

test('a disk with too little room is refused before anything is written', async () => {
  const place = path.join(folder, 'no-room');
  mkdirSync(place);
  const refused = async (body: Promise<unknown>, code: string, message: RegExp): Promise<void> => {
    await assert.rejects(
      body,
      (error: unknown) => error instanceof UserError && error.code === code && message.test(error.message),
    );
    assert.deepEqual(readdirSync(place), []);
  };
  const common: ExportOptions = { run, format: 'huggingface', out: path.join(place, 'model'), type: 'bf16' };
  const freeBytes = (): Promise<number> => Promise.resolve(1_000_000);
  await refused(
    exportRun({ ...common, freeBytes }),
    'DiskFull',
    /no-room: the export takes .* MiB, .* 976\.6 KiB free/,
  );
  await refused(exportRun({ ...common, measure: true, freeBytes }), 'CannotMeasure', /the decoded copy .* takes/);
  await refused(
    measureOnly({ run, format: 'huggingface', type: 'bf16', freeBytes }),
    'CannotMeasure',
    /\.lrqat.cache: /,
  );
});
