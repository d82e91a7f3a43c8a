// The world of validation over the real file system: models and texts through src/formats, the free disk, the machine.

import { readdir, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

import { UserError } from '../errors';
import { documentParts, type DocumentOptions } from '../formats/corpus-documents';
import { corpusFiles, type CorpusFile } from '../formats/corpus-files';
import { freeSpace } from '../formats/free-space';
import { openModel } from '../formats/hugging-face-model';
import { resolveModelPath } from '../formats/model-path';
import { openTokenCorpus } from '../formats/token-corpus';
import { openTokenizer, type TextTokenizer } from '../formats/tokenizer';
import { usableMemory } from './usable-memory';
import { nearest } from './nearest';
import type { Machine } from './planner';
import type { TextRequest, World, WorldModel } from './validate-world';

export interface WorldOptions {
  /** Cores and bf16 as the native build reports them; see {@link thisMachine}. */
  readonly machine: Machine;
  /** See {@link World.gpuProblem}. */
  readonly gpuProblem?: string | null;
  /** Folder of the experiment: relative paths start there. */
  readonly baseFolder: string;
  /** Where run folders are made; need not exist yet. */
  readonly runsFolder: string;
  /** lrqat.node, for its fast tokenizer; null: the library's. */
  readonly addonFile: string | null;
}

/** Memory and cores as this process may use them: a container's limit counts where there is one. */
export function thisMachine(cpu: { readonly nativeBf16: boolean; readonly logicalCores?: number }): Machine {
  const cores = os.availableParallelism();
  return {
    totalMemory: usableMemory(),
    cores: Math.max(1, Math.min(cores, cpu.logicalCores ?? cores)),
    nativeBf16: cpu.nativeBf16,
    device: 'cpu',
  };
}

export function openWorld({ machine, gpuProblem = null, baseFolder, runsFolder, addonFile }: WorldOptions): World {
  const tokenizers = new Map<string, Promise<TextTokenizer>>();
  const tokenizerOf = ({ folder }: WorldModel): Promise<TextTokenizer> => {
    const open = tokenizers.get(folder) ?? openTokenizer(folder, { addonFile });
    tokenizers.set(folder, open);
    return open;
  };
  return {
    machine,
    gpuProblem,
    async openModel(modelPath) {
      const { folder, shape, warnings } = await openModel(await resolveModelPath(modelPath, baseFolder));
      return { folder, shape, warnings };
    },
    async tokenizerVocabulary(model) {
      return (await tokenizerOf(model)).vocabSize;
    },
    async expand(pattern) {
      try {
        return (await corpusFiles([pattern], baseFolder)).map(({ file }) => file);
      } catch (error) {
        // A folder in place of a file is there, and said so by the error.
        if (error instanceof UserError && error.code === 'CorpusMissing' && !(await exists(baseFolder, pattern)))
          return [];
        throw error;
      }
    },
    async similar(pattern) {
      const file = path.resolve(baseFolder, pattern);
      const names = await readdir(path.dirname(file)).catch(() => []);
      const name = nearest(path.basename(file), names);
      return name === undefined ? undefined : path.join(path.dirname(pattern), name);
    },
    async countTokens(request, enough) {
      return countTokens(request, enough, baseFolder, () => tokenizerOf(request.model));
    },
    freeDisk: () => freeSpace(runsFolder),
  };
}

async function exists(baseFolder: string, pattern: string): Promise<boolean> {
  return stat(path.resolve(baseFolder, pattern)).then(
    () => true,
    () => false,
  );
}

/** Text that nearly always has a token in it, at first; more is read where it has not. */
const BYTES_A_TOKEN = 16;

async function countTokens(
  { files, field, packing, kind }: TextRequest,
  enough: number,
  baseFolder: string,
  open: () => Promise<TextTokenizer>,
): Promise<number> {
  const corpus = await corpusFiles(files, baseFolder);
  const tokenizer = await open();
  if (corpus.every((file) => file.kind === 'tokens')) {
    const stored = await openTokenCorpus({ files: corpus, tokenizer, packing });
    stored.close();
    return stored.count;
  }
  const mixed = corpus.find((file) => file.kind === 'tokens');
  if (mixed) {
    throw new UserError('CorpusKind', `${mixed.file}: .bin files cannot be mixed with text in one corpus`, {
      hint: 'Use .bin files only, or text only.',
    });
  }
  const textRows = kind === 'wikitext' ? 'lines' : packing === 'documents' ? 'paragraphs' : 'file';
  for (let bytes = enough * BYTES_A_TOKEN; ; bytes *= 4) {
    const { texts, complete } = await firstTexts(corpus, { textRows, field }, bytes);
    const tokens =
      packing === 'documents'
        ? texts.reduce((sum, text) => sum + tokenizer.encode(text).length, 0)
        : texts.length === 0
          ? 0
          : tokenizer.encode(texts.join('\n\n')).length;
    if (complete || tokens >= enough) return tokens;
  }
}

/** Documents from the beginning, the last one cut after `limit` bytes; no more is read. */
async function firstTexts(
  corpus: readonly CorpusFile[],
  options: DocumentOptions,
  limit: number,
): Promise<{ texts: string[]; complete: boolean }> {
  const documents: Uint8Array[][] = [];
  let room = limit;
  for (const file of corpus) {
    for await (const { bytes, starts } of documentParts(file, options)) {
      const current = starts ? undefined : documents.at(-1);
      const piece = bytes.subarray(0, room);
      if (current) current.push(piece);
      else documents.push([piece]);
      room -= bytes.length;
      if (room < 0) return { texts: documents.map(textOf), complete: false };
    }
  }
  return { texts: documents.map(textOf).filter((text) => text !== ''), complete: true };
}

function textOf(pieces: readonly Uint8Array[]): string {
  return Buffer.concat(pieces).toString('utf8');
}
