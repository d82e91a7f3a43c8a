// What only the world shows, on the real sample model and on broken copies of it: each case's problems as text in world/NAME.txt.

import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { after } from 'node:test';

import {
  applyOverrides,
  formatProblems,
  inFileOrder,
  parseExperiment,
  runsToCheck,
  validateRuns,
  type Problem,
  type World,
} from '../../src/experiment';
import { applyTextEdits } from '../../src/experiment/document';
import { openWorld } from '../../src/experiment/world';
import { assertGolden } from './golden';

const sample = path.resolve('samples/first-run');
const folder = mkdtempSync(path.join(tmpdir(), 'lrqat-world-'));
after(() => {
  rmSync(folder, { recursive: true, force: true });
});

const file = path.join(folder, 'run.lrqat.json');
const GiB = 2 ** 30;

const real: World = openWorld({
  gpuProblem: 'this machine has no NVIDIA GPU',
  machine: { totalMemory: 8 * GiB, cores: 2, nativeBf16: false },
  baseFolder: folder,
  runsFolder: path.join(folder, 'not', 'there', 'yet'),
  addonFile: null,
});

const text = `{
  "model": { "path": ${JSON.stringify(path.join(sample, 'model'))} },
  "data": {
    "train": [${JSON.stringify(path.join(sample, 'train.txt'))}],
    "validation": [${JSON.stringify(path.join(sample, 'validation.txt'))}],
    "sequenceLength": 256
  },
  "quantization": { "weights": { "bits": 2 } },
  "training": { "steps": 10 },
  "evaluation": { "everySteps": 5 },
  "checkpoint": { "keep": 3 }
}
`;

/** As command line and editor ask. */
async function problemsOf(source: string, world: World = real): Promise<Problem[]> {
  const parsed = parseExperiment(source, file);
  const { runs, problems } = runsToCheck(parsed, { text: source, file }, file, {}, () => false);
  assert.equal(runs.length, 1);
  const found = await validateRuns(runs, world, { text: source, file });
  return inFileOrder([...parsed.problems, ...problems, ...found]);
}

/** The sample's model with a change to its folder. */
function brokenModel(name: string, change: (modelFolder: string) => void): string {
  const copy = path.join(folder, name);
  cpSync(path.join(sample, 'model'), copy, { recursive: true });
  change(copy);
  return `model.path=${name}`;
}

function editJson(jsonFile: string, edit: (value: Record<string, unknown>) => void): void {
  const value = JSON.parse(readFileSync(jsonFile, 'utf8')) as Record<string, unknown>;
  edit(value);
  writeFileSync(jsonFile, JSON.stringify(value));
}

function written(name: string, contents: string | Uint8Array): string {
  writeFileSync(path.join(folder, name), contents);
  return name;
}

interface Case {
  readonly sets: () => readonly string[];
  /** A change to the text that --set would refuse. */
  readonly edit?: (source: string) => string;
  readonly world?: Partial<World>;
}

const cases: Readonly<Record<string, Case>> = {
  'nothing-wrong': { sets: () => [] },
  'model-missing': { sets: () => ['model.path=modle'] },
  'model-hub-id-not-cached': { sets: () => ['model.path=nobody/no-such-model-lrqat'] },
  'model-without-tokenizer': {
    sets: () => [
      brokenModel('no-tokenizer', (model) => {
        rmSync(path.join(model, 'tokenizer.json'));
      }),
    ],
  },
  'model-truncated': {
    sets: () => [
      brokenModel('truncated', (model) => {
        truncateSync(path.join(model, 'model.safetensors'), 100_000);
      }),
    ],
  },
  'model-unsupported': {
    sets: () => [
      brokenModel('unsupported', (model) => {
        editJson(path.join(model, 'config.json'), (config) => {
          config['model_type'] = 'mamba';
          config['architectures'] = ['MambaForCausalLM'];
        });
      }),
    ],
  },
  'model-with-unknown-key': {
    sets: () => [
      brokenModel('unknown-key', (model) => {
        editJson(path.join(model, 'config.json'), (config) => {
          config['house_style'] = 'gothic';
        });
      }),
    ],
  },
  'head-of-its-own': { sets: () => ['training.learningRate.head=1e-4'] },
  'vocabulary-too-large': {
    sets: () => [
      brokenModel('vocabulary', (model) => {
        editJson(path.join(model, 'tokenizer.json'), (tokenizer) => {
          const tokens = tokenizer['added_tokens'] as Record<string, unknown>[];
          tokens.push({ ...tokens[0], id: 4100, content: '<one-too-many>' });
        });
      }),
    ],
  },
  'sequence-too-long': {
    sets: () => [
      'data.sequenceLength=4096',
      'evaluation.kinds=["wikitext"]',
      `evaluation.wikitext.files=${JSON.stringify([path.join(sample, 'validation.txt')])}`,
      'evaluation.wikitext.sequenceLength=2049',
    ],
  },
  'group-does-not-divide': { sets: () => ['quantization.weights.granularity={"group":128}'] },
  'group-of-an-override': {
    sets: () => ['quantization.layers=[{"match":"*.down_proj","granularity":{"group":100}}]'],
  },
  'teacher-on-a-small-disk': {
    sets: () => ['training.distillation.weight=0.5'],
    world: { freeDisk: () => Promise.resolve(60_000_000) },
  },
  'rank-too-large': { sets: () => ['quantization.lowRank.rank=100'] },
  'match-without-match': {
    sets: () => [
      'quantization.layers=[{"match":"*.down_prj","bits":4},{"match":"model.layer.0.*","skip":true},{"match":"lm_head","bits":8},{"match":"model.layers.6.*","bits":8}]',
    ],
  },
  'everything-skipped': { sets: () => ['quantization.layers=[{"match":"*","skip":true}]'] },
  'overrides-too-wide-together': {
    sets: () => ['quantization.layers=[{"match":"*.mlp.*","fractionBits":6},{"match":"*.down_proj","bits":3}]'],
  },
  'corpus-missing': {
    sets: () => {
      written('validation-set.txt', 'x');
      return ['data.train=["train-*.txt"]', 'data.validation=["validation-sets.txt","nowhere/x.txt"]'];
    },
  },
  'corpus-of-another-kind': {
    sets: () => [`data.train=["${written('train.docx', 'x')}"]`, 'data.validation=["."]'],
  },
  'corpus-too-short': {
    sets: () => [
      `data.train=["${written('short.txt', 'Once upon a time there was a little girl.')}"]`,
      `data.validation=["${written('empty.txt', '')}"]`,
    ],
  },
  'corpus-field-missing': {
    sets: () => [`data.train=["${written('rows.jsonl', '{"content": "Once upon a time"}\n')}"]`],
  },
  'corpus-not-text': { sets: () => [`data.train=["${written('binary.txt', new Uint8Array([65, 10, 0xff, 0xfe]))}"]`] },
  'corpus-of-ids-without-side-file': { sets: () => [`data.train=["${written('ids.bin', new Uint8Array(4000))}"]`] },
  'corpus-mixed': {
    sets: () => {
      written('ids.json', '{"dtype": "uint16", "vocabSize": 4096}');
      return [`data.train=["ids.bin","${written('words.txt', 'Once upon a time')}"]`];
    },
  },
  device: { sets: () => ['device=cuda:0'] },
  'memory-limit-with-a-way-out': { sets: () => ['memoryLimit=100 MiB', 'training.activationCheckpointing=none'] },
  'memory-limit-without': { sets: () => ['memoryLimit=10 MiB'] },
  'memory-of-a-small-machine': {
    sets: () => ['training.activationCheckpointing=none'],
    world: { machine: { totalMemory: 128 * 2 ** 20, cores: 2, nativeBf16: false } },
  },
  'disk-full': { sets: () => [], world: { freeDisk: () => Promise.resolve(1_000_000) } },
  'disk-for-fewer': { sets: () => ['checkpoint.keep=30'], world: { freeDisk: () => Promise.resolve(60_000_000) } },
  'several-at-once': {
    sets: () => ['device=cuda', 'quantization.lowRank.rank=500', 'data.train=["nope.txt"]', 'data.sequenceLength=9000'],
  },
  // Of the file alone and of model, texts and machine in one go; what depends on a wrong value is not told.
  'everything-at-once': {
    sets: () => [
      'data.train=["nope.txt"]',
      'quantization.weights.granularity={"group":100}',
      'quantization.lowRank.rank=500',
      'training.microBatchSize=5',
      'device=cuda',
      'memoryLimit=10 MiB',
    ],
    edit: (source) =>
      source.replace('"sequenceLength": 256', '"sequenceLength": "many"').replace('"bits": 2', '"bits": 9'),
  },
  'misspelt-key-with-a-wrong-value': {
    sets: () => ['quantization.lowRank.rank=500', 'data.sequenceLength=9000'],
    edit: (source) => source.replace('"rank"', '"rnk"').replace('"sequenceLength"', '"sequenceLenght"'),
  },
  'unknown-variable': { sets: () => ['model.path=${nowhere}/model', 'data.train=["nope.txt"]'] },
};

function anonymous(output: string): string {
  return output.replaceAll(folder, '<folder>').replaceAll(sample, '<sample>').replaceAll(process.cwd(), '<root>');
}

for (const [name, { sets, edit = (source: string) => source, world }] of Object.entries(cases)) {
  test(`what is said about ${name}`, async () => {
    const source = edit(applyOverrides(text, sets()));
    const problems = await problemsOf(source, { ...real, ...world });
    const fixes = problems.flatMap(({ path: key, fixes: list = [] }) => list.map(({ title }) => `${key}: ${title}`));
    const lines = [
      formatProblems(problems, { [file]: source }),
      ...(fixes.length > 0 ? ['fixes', ...fixes.map((fix) => `  ${fix}`)] : []),
    ];
    // The searched places of a hub id are those of the machine.
    const output = anonymous(lines.join('\n')).replace(/^ {2}(?!<).*[\\/]models--.*\n/gm, '');
    assertGolden(`test/experiment/world/${name}.txt`, `${output.trim() || 'no problems'}\n`);
  });

  test(`fixes for ${name} remove their problem`, async () => {
    const source = edit(applyOverrides(text, sets()));
    for (const problem of await problemsOf(source, { ...real, ...world })) {
      for (const fix of problem.fixes ?? []) {
        const fixed = applyTextEdits(source, fix.edits);
        const left = await problemsOf(fixed, { ...real, ...world });
        assert.ok(!left.some(({ message }) => message === problem.message), `${fix.title}: ${problem.message}`);
      }
    }
  });
}

test('text is read no further than needed', async () => {
  // Ten bytes after the first 64 KiB would be no UTF-8; nobody looks there.
  const long = Buffer.concat([Buffer.from('Once upon a time. '.repeat(200_000)), Buffer.from([0xff])]);
  const problems = await problemsOf(applyOverrides(text, [`data.train=["${written('long.txt', long)}"]`]));
  assert.deepEqual(problems, []);
});

test('counting: joined and as documents, up to what is enough or exactly', async () => {
  const model = await real.openModel(path.join(sample, 'model'));
  const name = written('three.txt', 'Once upon a time.\n\nThere was a girl.\n\nThe end.');
  const count = (packing: 'join' | 'documents', enough: number): Promise<number> =>
    real.countTokens({ files: [name], field: 'text', packing, kind: 'text', model }, enough);
  const exact = await count('join', 1_000);
  assert.ok(exact > 10 && exact < 30, String(exact));
  assert.ok((await count('join', 5)) >= 5);
  assert.ok((await count('documents', 1_000)) > 10);
});
