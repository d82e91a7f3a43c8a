// The host's end of the world thread: starts it when it is first needed and again when it has died.
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { UserError } from '../../errors';
import type { WeightSample } from '../../experiment/weight-grid';
import type { SampleRequest, WorldAnswer, WorldQuestion, WorldReply, WorldRequest } from './world-protocol';

interface Settle {
  readonly resolve: (reply: WorldReply) => void;
  readonly reject: (error: Error) => void;
}

/** With nobody asking for this long (milliseconds) the thread and what it has read go. */
const IDLE = 60_000;
const PATIENCE = 10_000;

export class WorldClient {
  private worker: Worker | null = null;
  private readonly open = new Map<number, Settle>();
  private lastId = 0;
  private idle: NodeJS.Timeout | null = null;

  /** @param workerFile world-worker.js */
  constructor(private readonly workerFile: string = path.join(__dirname, 'world-worker.js')) {}

  /** null: a newer question about the same file has replaced this one. */
  async ask(question: Omit<WorldQuestion, 'id' | 'type'>): Promise<WorldAnswer | null> {
    const reply = await this.send({ type: 'question', ...question });
    return reply.type === 'answer' ? reply : null;
  }

  /** Whole rows of a linear's weight, evenly spread.
   *  @throws UserError WeightsSlow after `patience` milliseconds: a file system that needs longer is not waited for */
  async sampleWeights(modelFolder: string, linear: string, patience = PATIENCE): Promise<WeightSample> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const seconds = String(patience / 1000);
      timer = setTimeout(
        () => reject(new UserError('WeightsSlow', `${modelFolder}: not read within ${seconds} s`)),
        patience,
      );
    });
    try {
      const reply = await Promise.race([this.send({ type: 'sample', modelFolder, linear }), late]);
      if (reply.type === 'sample') return reply.sample;
      throw new Error(`the validation thread answered with ${reply.type}`);
    } finally {
      clearTimeout(timer);
    }
  }

  private send(request: Omit<WorldQuestion, 'id'> | Omit<SampleRequest, 'id'>): Promise<WorldReply> {
    const worker = (this.worker ??= this.start());
    if (this.idle !== null) clearTimeout(this.idle);
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      this.open.set(id, { resolve, reject });
      worker.postMessage({ id, ...request } satisfies WorldRequest);
    });
  }

  dispose(): void {
    if (this.idle !== null) clearTimeout(this.idle);
    this.end(new Error('the extension is being shut down'));
  }

  private start(): Worker {
    const worker = new Worker(this.workerFile);
    worker.unref();
    worker.on('message', (message: WorldReply) => this.receive(message));
    worker.on('error', (error: unknown) =>
      this.fail(worker, error instanceof Error ? error : new Error(String(error))),
    );
    worker.on('exit', () => this.fail(worker, new Error('the validation thread has ended')));
    return worker;
  }

  private receive(message: WorldReply): void {
    const settle = this.open.get(message.id);
    this.open.delete(message.id);
    if (message.type === 'failed') settle?.reject(new Error(message.message));
    else settle?.resolve(message);
    if (this.open.size > 0) return;
    this.idle = setTimeout(() => this.end(new Error('idle')), IDLE);
    this.idle.unref();
  }

  private fail(worker: Worker, error: Error): void {
    if (worker === this.worker) this.end(error);
  }

  private end(error: Error): void {
    const { worker } = this;
    this.worker = null;
    for (const { reject } of this.open.values()) reject(error);
    this.open.clear();
    void worker?.terminate();
  }
}
