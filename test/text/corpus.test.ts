// Corpora: files → documents → ids on disk, and what goes wrong with them.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { parquetWriteFile } from 'hyparquet-writer';
import { UserError } from '../../src/errors';
import {
  corpusFiles,
  documents,
  openTokenizer,
  tokenizeCorpus,
  wikitextJoin,
  type TextTokenizer,
  type TokenStream,
} from '../../src/formats';
import type { CorpusOptions } from '../../src/formats';
import { textJobs } from '../../src/formats/text-jobs';
import { encodeJob } from '../../src/formats/text-encoding';
import type { DocumentPart } from '../../src/formats/corpus-documents';
import { SAMPLE_MODEL, SHARED, addonFile, random, randomText } from './support';

function temporaryFolder(context: TestContext): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'lrqat-text-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const native = await openTokenizer(SAMPLE_MODEL, { addonFile });
const library = await openTokenizer(SAMPLE_MODEL);

function tokenize(folder: string, files: string[], options: Partial<CorpusOptions> = {}): Promise<TokenStream> {
  const cacheFolder = path.join(folder, 'cache');
  return tokenizeCorpus({
    files,
    baseFolder: folder,
    tokenizer: native,
    packing: 'join',
    cacheFolder,
    threads: 0,
    ...options,
  });
}

function idsOf(stream: TokenStream): number[] {
  const ids = new Int32Array(stream.count);
  stream.read(0, ids);
  return Array.from(ids);
}

async function idsAndClose(stream: Promise<TokenStream>): Promise<number[]> {
  const opened = await stream;
  try {
    return idsOf(opened);
  } finally {
    opened.close();
  }
}

async function refuses(body: Promise<unknown>, code: string, ...patterns: RegExp[]): Promise<void> {
  await assert.rejects(body, (error: unknown) => {
    assert.ok(error instanceof UserError, String(error));
    assert.equal(error.code, code);
    for (const pattern of patterns) assert.match(`${error.message} | ${error.hint ?? ''}`, pattern);
    return true;
  });
}

test('tokenizers: native where it can be, the library elsewhere, the same ids', () => {
  assert.equal(native.native, true);
  assert.equal(library.native, false);
  assert.match(library.reason ?? '', /native build/);
  const text = 'Once upon a time, \ud800 <|end_of_text|>\n\n';
  assert.deepEqual(native.encode(text), library.encode(text));
  assert.deepEqual(native.encode(text, { addSpecialTokens: false }), library.encode(text, { addSpecialTokens: false }));
  for (const key of ['vocabSize', 'bosId', 'eosId', 'hash'] as const) assert.equal(native[key], library[key], key);
  assert.deepEqual([native.bosId, native.eosId, native.vocabSize], [0, 1, 4096]);
  assert.deepEqual(native.prefixIds, library.prefixIds);
  assert.deepEqual(native.suffixIds, library.suffixIds);
});

test('a tokenizer that cannot be opened says why', async (context) => {
  const folder = temporaryFolder(context);
  await refuses(openTokenizer(folder), 'TokenizerMissing', /tokenizer\.json: no such file/);
  writeFileSync(path.join(folder, 'tokenizer.json'), '{"model": ');
  await refuses(openTokenizer(folder, { addonFile }), 'TokenizerInvalid', /tokenizer\.json: .*JSON at byte/);
  await refuses(openTokenizer(folder), 'TokenizerInvalid', /tokenizer\.json/);
});

test('a normalizer that only the library does: everything goes through it', async (context) => {
  const folder = temporaryFolder(context);
  const json = JSON.parse(readFileSync(path.join(SAMPLE_MODEL, 'tokenizer.json'), 'utf8')) as Record<string, unknown>;
  writeFileSync(path.join(folder, 'tokenizer.json'), JSON.stringify({ ...json, normalizer: { type: 'NFKD' } }));
  const tokenizer = await openTokenizer(folder, { addonFile });
  assert.deepEqual([tokenizer.native, tokenizer.reason], [false, 'normalizer NFKD']);
  writeFileSync(path.join(folder, 'a.txt'), 'ﬁne ﬁsh');
  assert.deepEqual(await idsAndClose(tokenize(folder, ['a.txt'], { tokenizer })), [...native.encode('fine fish')]);
});

test('files: literal names first, globs sorted, each once', async (context) => {
  const folder = temporaryFolder(context);
  mkdirSync(path.join(folder, 'sub'));
  for (const name of ['b.txt', 'a.txt', 'odd[1].txt', 'sub/c.jsonl']) writeFileSync(path.join(folder, name), 'x');
  const names = async (patterns: string[]): Promise<string[]> =>
    (await corpusFiles(patterns, folder)).map(({ file }) => path.relative(folder, file));
  assert.deepEqual(await names(['b.txt', '*.txt']), ['b.txt', 'a.txt', 'odd[1].txt']);
  assert.deepEqual(await names(['odd[1].txt']), ['odd[1].txt']);
  assert.deepEqual(await names(['**/*.jsonl', path.join(folder, 'a.txt')]), [path.join('sub', 'c.jsonl'), 'a.txt']);
  await refuses(corpusFiles(['none.txt'], folder), 'CorpusMissing', /none\.txt: no such file/);
  await refuses(corpusFiles(['none*.txt'], folder), 'CorpusMissing', /"none\*\.txt"/);
  await refuses(corpusFiles(['sub'], folder), 'CorpusMissing', /is a folder/, /sub\/\*\.txt/);
  await refuses(corpusFiles([], folder), 'CorpusMissing');
  await refuses(corpusFiles(['a\0.txt'], folder), 'CorpusUnreadable', /"a\\u0000\.txt" is no file name/);
  symlinkSync('loop.txt', path.join(folder, 'loop.txt'));
  await refuses(corpusFiles(['loop.txt'], folder), 'CorpusUnreadable', /loop\.txt: cannot be read \(ELOOP\)/);
  await refuses(corpusFiles([`${'n'.repeat(300)}.txt`], folder), 'CorpusUnreadable', /ENAMETOOLONG/);
  writeFileSync(path.join(folder, 'x.pdf'), 'x');
  await refuses(corpusFiles(['x.pdf'], folder), 'CorpusKind', /x\.pdf/, /\.jsonl/);
});

test('documents of every kind of file', async (context) => {
  const folder = temporaryFolder(context);
  const read = async (
    name: string,
    contents: string | Buffer,
    textRows: 'file' | 'paragraphs' | 'lines' = 'file',
    field = 'text',
  ) => {
    writeFileSync(path.join(folder, name), contents);
    const [file] = await corpusFiles([name], folder);
    const found: string[] = [];
    for await (const document of documents(file!, { textRows, field })) found.push(document);
    return found;
  };
  assert.deepEqual(await read('a.txt', 'one\n\ntwo\r\n'), ['one\n\ntwo\r\n']);
  assert.deepEqual(await read('a.txt', '\ufeffone'), ['one'], 'a byte order mark is not text');
  assert.deepEqual(await read('a.txt', ''), ['']);
  assert.deepEqual(await read('a.txt', '\n\none\ntwo\n\n \t\n\r\nthree\r\nfour\r\n\n', 'paragraphs'), [
    'one\ntwo',
    'three\r\nfour\r',
  ]);
  assert.deepEqual(await read('a.txt', ' = T = \n \nx\ny', 'lines'), [' = T = \n', '', 'x\n', 'y']);
  assert.deepEqual(await read('a.jsonl', '{"text":"a\\nb","n":1}\r\n\n{"text":""}\n{"text":"é\\ud800"}'), [
    'a\nb',
    '',
    'é\ufffd',
  ]);
  assert.deepEqual(await read('a.jsonl', '{"body":"b"}', 'file', 'body'), ['b']);
  // Longer than one chunk, with characters over its border.
  const long = 'aé日😀'.repeat(300_000);
  assert.ok((await read('long.txt', long))[0] === long);
  assert.ok((await read('long.jsonl', JSON.stringify({ text: long })))[0] === long);

  const column = ['one', 'zwei\n', '', '日本'];
  for (const codec of ['UNCOMPRESSED', 'SNAPPY'] as const) {
    const file = path.join(folder, `${codec}.parquet`);
    parquetWriteFile({
      filename: file,
      codec,
      rowGroupSize: 3,
      columnData: [
        { name: 'id', data: [1, 2, 3, 4], type: 'INT32' },
        { name: 'text', data: column, type: 'STRING' },
      ],
    });
    assert.deepEqual(await read(`${codec}.parquet`, readFileSync(file)), column);
  }
  await refuses(
    read('SNAPPY.parquet', readFileSync(path.join(folder, 'SNAPPY.parquet')), 'file', 'body'),
    'CorpusInvalid',
    /no column "body"/,
    /id, text/,
  );
  await refuses(
    read('n.parquet', readFileSync(path.join(folder, 'SNAPPY.parquet')), 'file', 'id'),
    'CorpusInvalid',
    /row 1/,
    /"id" holds number/,
  );
  const half = readFileSync(path.join(folder, 'SNAPPY.parquet')).subarray(0, 60);
  await refuses(read('half.parquet', half), 'CorpusInvalid', /half\.parquet: not a readable Parquet file/);
});

test('broken text is an error with file and line', async (context) => {
  const folder = temporaryFolder(context);
  const reading = (name: string, contents: string | Buffer): Promise<TokenStream> => {
    writeFileSync(path.join(folder, name), contents);
    return tokenize(folder, [name]);
  };
  const bad = Buffer.concat([Buffer.from('fine\nfiné\n'), Buffer.from([0x61, 0xff, 0x62]), Buffer.from('\n')]);
  await refuses(reading('a.txt', bad), 'CorpusInvalid', /a\.txt:3: not valid UTF-8/);
  const far = Buffer.concat([Buffer.from('line\n'.repeat(500_000)), Buffer.from([0xe2, 0x96])]);
  await refuses(reading('b.txt', far), 'CorpusInvalid', /b\.txt:500001: not valid UTF-8/);
  await refuses(reading('c.jsonl', '{"text":"a"}\n{"text":'), 'CorpusInvalid', /c\.jsonl:2: not valid JSON/);
  await refuses(reading('d.jsonl', '{"text":"a"}\n\n[1]'), 'CorpusInvalid', /d\.jsonl:3: expected a JSON object/);
  await refuses(reading('e.jsonl', '{"body":"a"}'), 'CorpusInvalid', /e\.jsonl:1: the field "text" is missing/, /body/);
  await refuses(reading('f.jsonl', '{"text":7}'), 'CorpusInvalid', /f\.jsonl:1: the field "text" is a number/);
  assert.deepEqual(readdirSync(path.join(folder, 'cache')), [], 'nothing half-written stays');
});

test('join: the ids of all documents joined by a blank line, as one string', async (context) => {
  const folder = temporaryFolder(context);
  writeFileSync(path.join(folder, 'a.txt'), 'First file.\n');
  writeFileSync(
    path.join(folder, 'b.jsonl'),
    '{"text":"row one"}\n{"text":""}\n{"text":"row <|end_of_text|> three"}\n',
  );
  const expected = ['First file.\n', 'row one', '', 'row <|end_of_text|> three'].join('\n\n');
  const stream = await tokenize(folder, ['a.txt', 'b.jsonl']);
  assert.deepEqual(idsOf(stream), [...library.encode(expected)]);
  assert.deepEqual([stream.packing, stream.vocabSize, stream.documentStarts(0, stream.count)], ['join', 4096, [0]]);
  stream.close();
});

test('documents: BOS and EOS each, their starts recorded', async (context) => {
  const folder = temporaryFolder(context);
  writeFileSync(path.join(folder, 'a.txt'), 'one two\n\n\nthree\n');
  writeFileSync(path.join(folder, 'b.jsonl'), '{"text":"four"}\n{"text":""}\n{"text":"five five five"}\n');
  const stream = await tokenize(folder, ['a.txt', 'b.jsonl'], { packing: 'documents' });
  const texts = ['one two', 'three', 'four', 'five five five'];
  const each = texts.map((text) => [0, ...library.encode(text, { addSpecialTokens: false }), 1]);
  assert.deepEqual(idsOf(stream), each.flat());
  const starts = each.map((_, i) => each.slice(0, i).flat().length);
  assert.deepEqual(stream.documentStarts(0, stream.count), starts);
  assert.deepEqual(stream.documentStarts(1, starts[2]!), starts.slice(1, 3));
  assert.deepEqual(stream.documentStarts(starts[1]! + 1, 1), []);
  stream.close();
});

test('threads, this thread and the library give the same ids, whatever the jobs', async (context) => {
  const folder = temporaryFolder(context);
  const next = random(7);
  const text = Array.from({ length: 800 }, () => randomText(next, 30)).join(' and the \n');
  const rows = Array.from({ length: 500 }, () => JSON.stringify({ text: randomText(next, 20) }));
  // Text of repeats, long enough to pay for threads.
  writeFileSync(path.join(folder, 'a.txt'), text + readFileSync('samples/first-run/train.txt', 'utf8').repeat(4));
  writeFileSync(path.join(folder, 'b.jsonl'), rows.join('\n'));
  for (const packing of ['join', 'documents'] as const) {
    const one = await idsAndClose(
      tokenize(folder, ['a.txt', 'b.jsonl'], { packing, cacheFolder: path.join(folder, '1') }),
    );
    const seen: number[] = [];
    const many = await idsAndClose(
      tokenize(folder, ['a.txt', 'b.jsonl'], {
        packing,
        threads: 2,
        cacheFolder: path.join(folder, '2'),
        onProgress: ({ bytesDone, bytesTotal }) => {
          seen.push(bytesDone);
          assert.equal(
            bytesTotal,
            statSync(path.join(folder, 'a.txt')).size + statSync(path.join(folder, 'b.jsonl')).size,
          );
        },
      }),
    );
    assert.ok(one.length > 800_000 && one.length === many.length && one.every((id, i) => id === many[i]), packing);
    assert.ok(seen.length > 2 && seen.every((bytes, i) => i === 0 || bytes >= seen[i - 1]!), 'progress grows');
  }
});

test('jobs of any size: long documents are cut, short ones share, and the ids stay', async () => {
  const next = random(11);
  async function* parts(texts: readonly string[]): AsyncGenerator<DocumentPart> {
    await Promise.resolve();
    for (const text of texts) {
      // Documents arrive in parts that end between characters.
      const pieces = Array.from({ length: 1 + Math.floor(next() * 4) }, () => '');
      for (const character of text) pieces[Math.floor(next() * 0.999 * pieces.length)]! += character;
      const joined = pieces.join('');
      let sent = 0;
      for (const [i, piece] of pieces.entries()) {
        const bytes = Buffer.from(joined.slice(sent, sent + piece.length), 'utf8');
        sent += piece.length;
        yield { bytes, starts: i === 0, ends: i === pieces.length - 1, fileBytes: 0 };
      }
      shown.push(joined);
    }
  }
  const shown: string[] = [];
  const texts = Array.from({ length: 60 }, () => Buffer.from(randomText(next, 40)).toString('utf8'));
  const wellCut = texts.map((text) =>
    Array.from(text)
      .filter((c) => c.length === 1)
      .join(''),
  );
  for (const jobBytes of [16, 100, 1000]) {
    shown.length = 0;
    const ids: number[] = [];
    let cut = 0;
    for await (const job of textJobs(parts(wellCut), (bytes) => native.encoder!.lastSplit(bytes), jobBytes)) {
      ids.push(...encodeJob(native, job).ids);
      cut += job.pieces.filter(({ ends }) => !ends).length;
    }
    assert.deepEqual(
      ids,
      shown.flatMap((text) => [...native.encode(text, { addSpecialTokens: false })]),
    );
    assert.ok(jobBytes > 100 || cut > 50, `${String(cut)} cuts with jobs of ${String(jobBytes)} bytes`);
  }
});

test('the cache is found by contents and settings, and made again when damaged', async (context) => {
  const folder = temporaryFolder(context);
  const cache = path.join(folder, 'cache');
  const inCache = (extension: string): string[] => readdirSync(cache).filter((name) => name.endsWith(extension));
  writeFileSync(path.join(folder, 'a.txt'), 'Once upon a time there was a cache.\n\nTwice.');
  const first = await tokenize(folder, ['a.txt']);
  const ids = idsOf(first);
  first.close();
  assert.equal(inCache('.bin').length, 1);
  const binary = path.join(cache, inCache('.bin')[0]!);
  assert.equal(statSync(binary).size, ids.length * 2, 'uint16 for 4,096 ids');

  const written = statSync(binary).mtimeMs;
  const again = await tokenize(folder, ['a.txt']);
  assert.deepEqual(
    [idsOf(again), again.identity, statSync(binary).mtimeMs],
    [ids, first.identity, written],
    'not made again',
  );
  again.close();

  const damages: (() => void)[] = [
    () => {
      const bytes = readFileSync(binary);
      bytes[3]! ^= 1;
      writeFileSync(binary, bytes);
    },
    () => appendFileSync(binary, 'xx'),
    () => writeFileSync(binary, ''),
    () => rmSync(binary),
    () => writeFileSync(binary.replace('.bin', '.json'), '{"version":'),
    () => writeFileSync(binary.replace('.bin', '.json'), '{"version":1,"count":-1}'),
  ];
  for (const [i, damage] of damages.entries()) {
    damage();
    assert.deepEqual(await idsAndClose(tokenize(folder, ['a.txt'])), ids, `damage ${String(i)}`);
  }

  await idsAndClose(tokenize(folder, ['a.txt'], { packing: 'documents' }));
  await idsAndClose(tokenize(folder, ['a.txt'], { tokenizer: library }));
  writeFileSync(path.join(folder, 'a.txt'), 'Other text.');
  const other = await tokenize(folder, ['a.txt']);
  assert.notEqual(other.identity, first.identity);
  other.close();
  assert.equal(inCache('.json').length, 4);
  assert.deepEqual(
    readdirSync(cache).filter((name) => name.includes('tmp')),
    [],
  );
});

test('an aborted tokenization rejects, and leaves nothing', async (context) => {
  const folder = temporaryFolder(context);
  writeFileSync(path.join(folder, 'a.txt'), 'Some words to go on with. '.repeat(400_000));
  for (const threads of [0, 2]) {
    const controller = new AbortController();
    const running = tokenize(folder, ['a.txt'], {
      threads,
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await assert.rejects(running, { name: 'AbortError' });
    assert.deepEqual(readdirSync(path.join(folder, 'cache')), []);
  }
  await assert.rejects(tokenize(folder, ['a.txt'], { signal: AbortSignal.abort() }), { name: 'AbortError' });
});

test('pre-tokenized files', async (context) => {
  const folder = temporaryFolder(context);
  const write = (name: string, ids: number[], side: unknown, wide = false): void => {
    const array = wide ? Uint32Array.from(ids) : Uint16Array.from(ids);
    writeFileSync(path.join(folder, name), new Uint8Array(array.buffer));
    writeFileSync(path.join(folder, name.replace('.bin', '.json')), JSON.stringify(side));
  };
  write('a.bin', [0, 5, 6, 1, 0, 7, 1], { dtype: 'uint16', vocabSize: 4096, count: 7, tokenizerHash: native.hash });
  write('b.bin', [8, 9, 1, 10], { dtype: 'uint32', vocabSize: 5000 }, true);
  const stream = await tokenize(folder, ['a.bin', 'b.bin'], { packing: 'documents' });
  assert.deepEqual(idsOf(stream), [0, 5, 6, 1, 0, 7, 1, 8, 9, 1, 10]);
  assert.deepEqual([stream.count, stream.vocabSize, stream.packing], [11, 5000, 'documents']);
  assert.deepEqual(stream.documentStarts(0, 11), [0, 4, 7, 10]);
  assert.deepEqual(stream.documentStarts(4, 4), [4, 7]);
  const slice = new Int32Array(3);
  stream.read(6, slice);
  assert.deepEqual([...slice], [1, 8, 9]);
  assert.throws(() => stream.read(9, slice), RangeError);
  stream.close();

  const opening = (side: unknown): Promise<TokenStream> => {
    write('c.bin', [1, 2, 3], side);
    return tokenize(folder, ['c.bin']);
  };
  await refuses(opening({ dtype: 'int8', vocabSize: 9 }), 'CorpusInvalid', /c\.json: "dtype" is "int8"/, /uint16/);
  await refuses(opening({ dtype: 'uint16' }), 'CorpusInvalid', /"vocabSize" is undefined/);
  await refuses(
    opening({ dtype: 'uint16', vocabSize: 9, count: 4 }),
    'CorpusInvalid',
    /"count" is 4, but .*c\.bin holds 3/,
  );
  await refuses(opening({ dtype: 'uint32', vocabSize: 9 }), 'CorpusInvalid', /6 bytes/);
  await refuses(opening({ dtype: 'uint16', vocabSize: 9, tokenizerHash: 'x' }), 'CorpusInvalid', /"tokenizerHash"/);
  await refuses(opening([]), 'CorpusInvalid', /expected a JSON object/);
  const small = await opening({ dtype: 'uint16', vocabSize: 3 });
  assert.throws(() => idsOf(small), /token id 3 at position 2, the vocabulary has 3/);
  small.close();
  rmSync(path.join(folder, 'c.json'));
  await refuses(tokenize(folder, ['c.bin']), 'CorpusInvalid', /no side file/);
  writeFileSync(path.join(folder, 't.txt'), 'text');
  await refuses(tokenize(folder, ['t.txt', 'a.bin']), 'CorpusKind', /a\.bin/, /mixed/);
});

const wikitext = path.join(SHARED, 'text/wikitext-2-raw/wiki.test.raw');

test(
  'WikiText-2: the joined text and its ids',
  { skip: existsSync(wikitext) ? false : 'no ../shared/data here' },
  async (context) => {
    const joined = wikitextJoin(readFileSync(wikitext, 'utf8'));
    assert.equal(Buffer.byteLength(joined), 1_296_370);
    assert.equal(
      createHash('sha256').update(joined).digest('hex'),
      '696cca6b65a171b0a358a4be6732cdfdf2dd6164a32e20fd70e3c13fc4dfae83',
    );
    const tokenizer: TextTokenizer = await openTokenizer(path.join(SHARED, 'tokenizers/llama2'), { addonFile });
    const folder = temporaryFolder(context);
    const ids = await idsAndClose(tokenize(folder, [wikitext], { tokenizer, kind: 'wikitext', threads: 2 }));
    // The figure that is usually reported, BOS included.
    assert.equal(ids.length, 341_469);
    assert.deepEqual(ids, [...tokenizer.encode(joined)]);
  },
);
