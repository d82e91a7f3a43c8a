// What others ask of a running trainer (control files, signals), turned into answers at the points where the loop can act.
//
// Messages arrive at any time; the loop asks at its own boundaries. A stop also interrupts the engine, which gives up the
// micro-batch it is in and leaves everything unchanged. A pause lets a short step end and interrupts a long one.

import type { ControlMessage, RunState } from '../runs';

/** What the desk needs of a run's writer. */
export interface ControlSource {
  readonly status: { readonly state: RunState };
  watchControls(listener: (message: ControlMessage) => void): () => void;
  acknowledge(message: ControlMessage): Promise<void>;
  update(patch: { readonly state?: RunState; readonly phase?: string | null }): void;
  log(text: string): Promise<void>;
}

/** `save`: with a checkpoint of where the run stands. `now`: what was done since the last checkpoint is given up. */
export type StopKind = 'save' | 'now';

/** Thrown out of the loop by {@link ControlDesk.point}. */
export class StopRequested extends Error {
  override readonly name = 'StopRequested';
  constructor(readonly kind: StopKind) {
    super(kind === 'save' ? 'stopping' : 'stopping without saving');
  }
}

/** What a stop or an impatient pause interrupts. */
export interface Interruptible {
  /** Makes the running call reject with Cancelled, having changed nothing. */
  cancel(): void;
}

export interface ControlOptions {
  /** Seconds until the loop will ask again, as far as it can tell. */
  readonly secondsToNextPoint: () => number;
  /** A pause waits this long for the running step (seconds). */
  readonly patience: number;
}

export class ControlDesk {
  private readonly unwatch: () => void;
  private readonly messages: ControlMessage[] = [];
  private paused = false;
  private stopKind: StopKind | null = null;
  private checkpointWanted = false;
  private wake: () => void = () => undefined;
  private working: Interruptible | null = null;
  private readonly abort = new AbortController();

  constructor(
    private readonly source: ControlSource,
    private readonly options: ControlOptions,
  ) {
    this.unwatch = source.watchControls((message) => this.receive(message));
  }

  /** A stop that comes by signal rather than by file. */
  stop(kind: StopKind): void {
    // A second wish can only be more urgent.
    this.stopKind = this.stopKind === 'now' ? 'now' : kind;
    this.abort.abort();
    this.working?.cancel();
    this.wake();
  }

  /** Says whom to interrupt from now on. */
  worksOn(engine: Interruptible | null): void {
    this.working = engine;
  }

  /** Aborted by a stop; for work without points. */
  get signal(): AbortSignal {
    return this.abort.signal;
  }

  get stopping(): StopKind | null {
    return this.stopKind;
  }

  /** A checkpoint was asked for; the loop writes it and calls {@link checkpointWritten}. */
  get wantsCheckpoint(): boolean {
    return this.checkpointWanted;
  }

  async checkpointWritten(): Promise<void> {
    this.checkpointWanted = false;
    await this.acknowledge('checkpoint');
  }

  /**
   * A place where the run may rest or end: returns when training shall go on.
   * @param whilePaused serves a checkpoint request that comes during a pause
   * @throws StopRequested
   */
  async point(whilePaused?: () => Promise<void>): Promise<void> {
    if (this.stopKind === null && this.paused) await this.rest(whilePaused);
    if (this.stopKind === null) {
      // A resume that found nothing paused is done.
      await this.acknowledge('pause', 'resume');
      return;
    }
    this.source.update({ state: 'stopping', phase: this.stopKind === 'save' ? 'saving' : null });
    throw new StopRequested(this.stopKind);
  }

  /** Acknowledges the stop once it is done and hears nothing more. */
  async close(): Promise<void> {
    this.unwatch();
    await this.acknowledge('pause', 'resume', 'stop', 'checkpoint');
  }

  private receive(message: ControlMessage): void {
    this.messages.push(message);
    switch (message.verb) {
      case 'pause':
        this.paused = true;
        if (this.options.secondsToNextPoint() > this.options.patience) this.working?.cancel();
        break;
      case 'resume':
        this.paused = false;
        break;
      case 'checkpoint':
        this.checkpointWanted = true;
        break;
      case 'stop':
        this.stop(message.save ? 'save' : 'now');
        break;
    }
    this.wake();
  }

  private async rest(whilePaused?: () => Promise<void>): Promise<void> {
    const { state } = this.source.status;
    this.source.update({ state: 'paused', phase: null });
    await this.acknowledge('pause', 'resume');
    await this.source.log('paused');
    // Timers of the writer (control folder, heartbeat) do not keep the process alive; this one does and never has work.
    const alive = setInterval(() => undefined, 2 ** 30);
    try {
      while (this.paused && this.stopKind === null) {
        if (this.checkpointWanted && whilePaused) await whilePaused();
        else await new Promise<void>((resolve) => (this.wake = resolve));
      }
    } finally {
      clearInterval(alive);
      this.wake = () => undefined;
    }
    if (this.stopKind !== null) return;
    this.source.update({ state });
    await this.source.log('resumed');
  }

  /** Acknowledges what has come of these verbs, in order; the status keeps the highest number. */
  private async acknowledge(...verbs: ControlMessage['verb'][]): Promise<void> {
    const done = this.messages.filter((message) => verbs.includes(message.verb));
    for (const message of done) {
      this.messages.splice(this.messages.indexOf(message), 1);
      await this.source.acknowledge(message);
    }
  }
}
