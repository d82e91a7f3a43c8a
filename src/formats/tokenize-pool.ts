// Threads that encode jobs, or this thread when the text is too short for them to pay.
import { once } from 'node:events';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { UserError } from '../errors';
import { encodeJob, type EncodedJob } from './text-encoding';
import type { TextJob } from './text-jobs';
import type { WorkerReply, WorkerRequest } from './tokenize-worker';
import type { TextTokenizer } from './tokenizer';

export interface TokenizePool {
  /** Jobs worth having in flight at a time. */
  readonly capacity: number;
  encode(job: TextJob): Promise<EncodedJob>;
  close(): Promise<void>;
}

export function inThisThread(tokenizer: TextTokenizer): TokenizePool {
  return {
    capacity: 1,
    encode: async (job) => {
      // Between jobs others get their turn.
      await nextTurn();
      return encodeJob(tokenizer, job);
    },
    close: () => Promise.resolve(),
  };
}

/** dist/tokenize-worker.js lies beside the bundle that asks for it; elsewhere (tests) in dist of the working folder. */
export function workerFile(): string {
  const folder = typeof __dirname === 'string' ? __dirname : path.resolve('dist');
  return path.join(folder, 'tokenize-worker.js');
}

interface Waiting {
  readonly resolve: (result: EncodedJob) => void;
  readonly reject: (error: Error) => void;
}

export class TokenizeThreads implements TokenizePool {
  readonly capacity: number;
  private readonly native: boolean;
  private readonly workers: Worker[] = [];
  private readonly waiting = new Map<number, Waiting>();
  private failure: Error | null = null;
  private jobs = 0;

  constructor(tokenizer: TextTokenizer, threads: number, file = workerFile()) {
    this.capacity = threads * 2;
    this.native = tokenizer.native;
    for (let i = 0; i < threads; i++) {
      const worker = new Worker(file, { workerData: tokenizer.source });
      worker.on('message', (reply: WorkerReply) => this.settle(reply));
      worker.on('error', (error: Error) => this.fail(error));
      worker.on('exit', (code) => this.fail(new Error(`a tokenization thread ended with status ${String(code)}`)));
      this.workers.push(worker);
    }
  }

  encode(job: TextJob): Promise<EncodedJob> {
    const { failure } = this;
    const number = this.jobs++;
    const worker = this.workers[number % this.workers.length];
    if (failure !== null || worker === undefined) return Promise.reject(failure ?? new Error('no tokenization thread'));
    return new Promise((resolve, reject) => {
      this.waiting.set(number, { resolve, reject });
      const request: WorkerRequest = { job: number, bytes: job.bytes, pieces: job.pieces };
      worker.postMessage(request, [job.bytes.buffer as ArrayBuffer]);
    });
  }

  async close(): Promise<void> {
    this.fail(new Error('tokenization was ended'));
    await Promise.all(this.workers.map((worker) => this.end(worker)));
  }

  /** A thread inside native code ends by itself after the jobs it has (at most a fraction of a second); JavaScript alone, which
   *  may have a long text before it, can be stopped anywhere. */
  private async end(worker: Worker): Promise<void> {
    if (!this.native) {
      await worker.terminate();
      return;
    }
    const exited = worker.threadId < 0 ? Promise.resolve() : once(worker, 'exit');
    worker.postMessage(null satisfies WorkerRequest);
    await exited;
  }

  private settle(reply: WorkerReply): void {
    const waiting = this.waiting.get(reply.job);
    if (waiting === undefined) return;
    this.waiting.delete(reply.job);
    if ('failure' in reply) {
      const { code, message, hint } = reply.failure;
      waiting.reject(code === null ? new Error(message) : new UserError(code, message, hint === null ? {} : { hint }));
    } else {
      waiting.resolve({ ids: reply.ids, counts: reply.counts });
    }
  }

  private fail(error: Error): void {
    this.failure ??= error;
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }
}

/** Results in the order of the jobs, with up to `pool.capacity` of them under way. */
export async function* inOrder(
  jobs: AsyncIterable<TextJob>,
  pool: TokenizePool,
): AsyncGenerator<{ job: TextJob; encoded: EncodedJob }> {
  const underWay: { job: TextJob; result: Promise<EncodedJob> }[] = [];
  const first = async (): Promise<{ job: TextJob; encoded: EncodedJob } | null> => {
    const next = underWay.shift();
    return next === undefined ? null : { job: next.job, encoded: await next.result };
  };
  for await (const job of jobs) {
    const result = pool.encode(job);
    // Awaited in its turn; until then a rejection is not "unhandled".
    result.catch(() => undefined);
    underWay.push({ job, result });
    if (underWay.length < pool.capacity) continue;
    const done = await first();
    if (done !== null) yield done;
  }
  for (let done = await first(); done !== null; done = await first()) yield done;
}
