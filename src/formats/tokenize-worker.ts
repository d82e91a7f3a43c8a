// Entry of a tokenization thread (dist/tokenize-worker.js): receives jobs, answers each with its ids.
import { parentPort, workerData } from 'node:worker_threads';
import { UserError, messageOf } from '../errors';
import { encodeJob } from './text-encoding';
import type { TextPiece } from './text-jobs';
import { tokenizerFrom } from './tokenizer';
import type { TokenizerSource } from './tokenizer-source';

/** null: no more jobs will come. */
export type WorkerRequest = {
  readonly job: number;
  readonly bytes: Uint8Array;
  readonly pieces: readonly TextPiece[];
} | null;

export type WorkerReply =
  | { readonly job: number; readonly ids: Int32Array; readonly counts: Uint32Array }
  | { readonly job: number; readonly failure: WorkerFailure };

/** An error as plain data; `code` of a UserError, else null. */
export interface WorkerFailure {
  readonly code: string | null;
  readonly message: string;
  readonly hint: string | null;
}

const port = parentPort;
if (port === null) throw new Error('tokenize-worker.js runs as a worker thread');
const tokenizer = tokenizerFrom(workerData as TokenizerSource);

port.on('message', (request: WorkerRequest) => {
  if (request === null) {
    port.close();
    return;
  }
  const { job, bytes, pieces } = request;
  try {
    const { ids, counts } = encodeJob(tokenizer, { bytes, pieces });
    const reply: WorkerReply = { job, ids, counts };
    port.postMessage(reply, [ids.buffer as ArrayBuffer, counts.buffer as ArrayBuffer]);
  } catch (error) {
    const user = error instanceof UserError ? error : null;
    const failure = { code: user?.code ?? null, message: messageOf(error), hint: user?.hint ?? null };
    port.postMessage({ job, failure } satisfies WorkerReply);
  }
});
