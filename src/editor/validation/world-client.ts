// The host's end of the world thread: starts it when it is first needed and again when it has died.
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import type { WorldAnswer, WorldQuestion, WorldReply } from './world-protocol';

interface Settle {
  readonly resolve: (answer: WorldAnswer | null) => void;
  readonly reject: (error: Error) => void;
}

/** With nobody asking for this long (milliseconds) the thread and what it has read go. */
const IDLE = 60_000;

export class WorldClient {
  private worker: Worker | null = null;
  private readonly open = new Map<number, Settle>();
  private lastId = 0;
  private idle: NodeJS.Timeout | null = null;

  /** @param workerFile world-worker.js */
  constructor(private readonly workerFile: string = path.join(__dirname, 'world-worker.js')) {}

  /** null: a newer question about the same file has replaced this one. */
  ask(question: Omit<WorldQuestion, 'id'>): Promise<WorldAnswer | null> {
    const worker = (this.worker ??= this.start());
    if (this.idle !== null) clearTimeout(this.idle);
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      this.open.set(id, { resolve, reject });
      worker.postMessage({ id, ...question } satisfies WorldQuestion);
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
    if (message.type === 'answer') settle?.resolve(message);
    else if (message.type === 'superseded') settle?.resolve(null);
    else settle?.reject(new Error(message.message));
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
