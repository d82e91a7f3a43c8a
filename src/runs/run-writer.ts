// The trainer's side of a run directory: owns it, writes status, events and log, hears controls.
//
// Status goes to memory at once and to the disk at most every half second and at every change of state. A heartbeat that
// cannot be written (a server that is away for a moment) does not end a run; an event that cannot be written does.
import { existsSync, watch } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { nodeFileSystem, writeAll, writeFile, writeFileAtomic, type FileSystem } from '../formats/file-system';
import { systemErrorCode, UserError } from '../errors';
import { ControlInbox, type ControlMessage } from './control';
import { EVENT_SCHEMA, type EndEvent, type LayerEvent, type MetricsEvent, type ResumeEvent } from './events';
import { jsonText, readJson } from './json-file';
import { JsonLinesWriter } from './json-lines-writer';
import { runPaths, type RunPaths } from './layout';
import { takeOwnership, type Ownership } from './owner';
import { parseProvenance, type ProvenancePatch } from './provenance';
import type { RunResult } from './result';
import { HEARTBEAT_INTERVAL, type RunError, type RunState, type RunStatus, type StatusPatch } from './status';
import { readStatus } from './status-file';

export interface WriterOptions {
  readonly fileSystem?: FileSystem;
  readonly now?: () => number;
  /** Milliseconds; for tests. */
  readonly heartbeatInterval?: number;
  readonly statusInterval?: number;
  /** See {@link takeOwnership}. */
  readonly watch?: number;
}

/** Bytes set aside for the last words on a full disk. */
const RESERVE = 64 * 1024;
/** Between looks at the control folder where the system does not tell of changes (network file systems). */
const CONTROL_LOOK = 1000;

export class RunWriter {
  readonly paths: RunPaths;
  private readonly inbox: ControlInbox;
  private readonly timers = new Set<NodeJS.Timeout>();
  private statusTimer: NodeJS.Timeout | null = null;
  private statusWrite: Promise<void> = Promise.resolve();
  private ended = false;
  private readonly goneController = new AbortController();

  private constructor(
    private readonly options: Required<Omit<WriterOptions, 'watch'>>,
    private readonly ownership: Ownership,
    private current: RunStatus,
    private readonly metrics: JsonLinesWriter,
    private readonly layerLines: JsonLinesWriter,
    runDirectory: string,
  ) {
    this.paths = runPaths(runDirectory);
    this.inbox = new ControlInbox(runDirectory, current.acknowledged?.sequence ?? 0);
  }

  /** Takes the run over and begins a new attempt: state `starting`.
   *  @throws UserError RunInUse while another trainer works on it; NotARun where there is none. */
  static async open(runDirectory: string, options: WriterOptions = {}): Promise<RunWriter> {
    const settings = {
      fileSystem: options.fileSystem ?? nodeFileSystem,
      now: options.now ?? Date.now,
      heartbeatInterval: options.heartbeatInterval ?? HEARTBEAT_INTERVAL,
      statusInterval: options.statusInterval ?? 500,
    };
    const { fileSystem, now } = settings;
    const paths = runPaths(runDirectory);
    if ((await readStatus(runDirectory)) === null) {
      throw new UserError('NotARun', `${runDirectory}: no run directory (status.json is missing)`);
    }
    const ownership = await takeOwnership(runDirectory, { ...options, fileSystem, now });
    const opened: JsonLinesWriter[] = [];
    try {
      // Read again: an earlier owner may have written until the moment its ownership ended.
      const before = await readStatus(runDirectory);
      if (before === null) throw new UserError('NotARun', `${runDirectory}: status.json has gone`);
      await removeLeftovers(runDirectory, fileSystem);
      const metrics = await JsonLinesWriter.open(fileSystem, paths.metrics);
      opened.push(metrics);
      const layers = await JsonLinesWriter.open(fileSystem, paths.layers);
      opened.push(layers);
      const time = now();
      const status: RunStatus = {
        ...before,
        state: 'starting',
        phase: null,
        progress: null,
        attempt: before.attempt + 1,
        started: before.started ?? time,
        ended: null,
        etaSeconds: null,
        error: null,
      };
      const writer = new RunWriter(settings, ownership, status, metrics, layers, runDirectory);
      await writeFile(fileSystem, paths.reserve, Buffer.alloc(RESERVE));
      const run = path.basename(runDirectory);
      if (metrics.isEmpty) {
        await writer.event({ type: 'start', schema: EVENT_SCHEMA, time, run, totalSteps: status.totalSteps });
      }
      const { host, pid } = ownership.owner;
      await writer.event({ type: 'attempt', attempt: status.attempt, host, pid, time });
      await writer.log(`attempt ${String(status.attempt)}: process ${String(pid)} on ${host}`);
      await writer.writeStatus();
      writer.every(settings.heartbeatInterval, () => writer.beat());
      return writer;
    } catch (error) {
      for (const file of opened) await file.close();
      await ownership.release();
      throw error;
    }
  }

  /** Aborted, with a UserError RunRemoved as its reason, when the heartbeat finds that the run's folder is no longer there: what
   *  is computed from then on nobody could find. */
  get gone(): AbortSignal {
    return this.goneController.signal;
  }

  /** For what would make the folder again.
   *  @throws UserError RunRemoved */
  requireFolder(): void {
    if (!existsSync(this.paths.directory)) throw runRemoved(this.paths.directory);
  }

  get status(): RunStatus {
    return this.current;
  }

  /** Changes the status; a change of state is written at once (await {@link writeStatus} to be sure), the rest soon. */
  update(patch: StatusPatch): void {
    const stateChanged = patch.state !== undefined && patch.state !== this.current.state;
    this.current = { ...this.current, ...patch };
    if (stateChanged) {
      void this.writeStatus().catch(ignoreFailedHeartbeat);
    } else if (this.statusTimer === null && !this.ended) {
      this.statusTimer = setTimeout(() => {
        this.statusTimer = null;
        void this.writeStatus().catch(ignoreFailedHeartbeat);
      }, this.options.statusInterval);
      this.statusTimer.unref();
    }
  }

  /** Writes the status with a fresh heartbeat now. */
  writeStatus(): Promise<void> {
    const done = this.statusWrite.then(async () => {
      if (this.ended) return;
      this.current = { ...this.current, heartbeat: this.options.now() };
      await writeFileAtomic(this.options.fileSystem, this.paths.status, jsonText(this.current));
    });
    this.statusWrite = done.catch(() => undefined);
    return done;
  }

  /** Appends an event to metrics.jsonl. Checkpoint events wait for the disk: a resume from that step needs all before it. */
  event(event: Exclude<MetricsEvent, ResumeEvent | EndEvent>): Promise<void> {
    return this.metrics.append([event], event.type === 'checkpoint');
  }

  /** Appends events to layers.jsonl. */
  layers(events: readonly LayerEvent[]): Promise<void> {
    return this.layerLines.append(events);
  }

  /** Waits until all events so far are on the disk: before a checkpoint says that they can be built upon. */
  async sync(): Promise<void> {
    await this.metrics.append([], true);
    await this.layerLines.append([], true);
  }

  /** Tells readers that the run goes on from the checkpoint of `step`. */
  async resumeFrom(step: number): Promise<void> {
    const event: ResumeEvent = { type: 'resume', fromStep: step, time: this.options.now() };
    await this.metrics.append([event]);
    await this.layerLines.append([event]);
    this.update({ step });
  }

  /** Adds a line with the time to log.txt. A log that cannot be written is no reason to end a run. */
  async log(text: string): Promise<void> {
    const line = `${new Date(this.options.now()).toISOString()} ${text}\n`;
    try {
      const file = await this.options.fileSystem.open(this.paths.log, 'a');
      try {
        await writeAll(file, line);
      } finally {
        await file.close();
      }
    } catch {
      // Said above.
    }
  }

  /** Merges what the trainer finds out (device, engine version, hashes) into provenance.json. */
  async updateProvenance(patch: ProvenancePatch): Promise<void> {
    const merged = { ...parseProvenance(await readJson(this.paths.provenance)), ...patch };
    await writeFileAtomic(this.options.fileSystem, this.paths.provenance, jsonText(merged));
  }

  /** Calls `listener` with each message as it comes, in order: at once where the system tells of changes in a folder, within a
   *  second elsewhere. Each must be acknowledged once acted on. A paused run does nothing but that, so looks are few. Does not
   *  keep the process alive.
   *  @returns ends the watch. */
  watchControls(listener: (message: ControlMessage) => void): () => void {
    let last = Promise.resolve();
    let waiting = false;
    // One look at a time, and one more for what came during it.
    const look = (): void => {
      if (waiting) return;
      waiting = true;
      last = last.then(async () => {
        waiting = false;
        try {
          for (const message of await this.inbox.poll()) listener(message);
        } catch {
          // A folder that cannot be read for a moment is tried again.
        }
      });
    };
    const timer = this.every(CONTROL_LOOK, look);
    const stopWatching = watchFolder(this.paths.control, look);
    return () => {
      stopWatching();
      clearInterval(timer);
      this.timers.delete(timer);
    };
  }

  /** Records that a message was acted on. */
  async acknowledge(message: ControlMessage): Promise<void> {
    const sequence = Math.max(message.sequence, this.current.acknowledged?.sequence ?? 0);
    this.current = { ...this.current, acknowledged: { sequence, verb: message.verb, time: this.options.now() } };
    await this.writeStatus();
  }

  /** Writes result.json. */
  async result(result: RunResult): Promise<void> {
    await writeFileAtomic(this.options.fileSystem, this.paths.result, jsonText(result));
  }

  /** Ends the attempt: last event, last status, owner released. Never throws for a failing disk: what can be written is
   *  written, and a status that could not be is derived by readers from the missing owner. */
  async end(state: EndEvent['state'], error?: RunError): Promise<void> {
    if (this.ended) return;
    for (const timer of this.timers) clearInterval(timer);
    if (this.statusTimer !== null) clearTimeout(this.statusTimer);
    await this.options.fileSystem.unlink(this.paths.reserve).catch(() => undefined);
    const time = this.options.now();
    await this.metrics.append([{ type: 'end', state, time } satisfies EndEvent], true).catch(() => undefined);
    await this.log(`${state} at step ${String(this.current.step)}${error === undefined ? '' : `: ${error.message}`}`);
    const finalState: RunState = state;
    this.current = {
      ...this.current,
      state: finalState,
      phase: null,
      progress: null,
      ended: time,
      etaSeconds: null,
      error: error ?? null,
    };
    // Once more after an error: the one write that must not fail for something that passes.
    await this.writeStatus().catch(() => this.writeStatus().catch(() => undefined));
    this.ended = true;
    await this.metrics.close().catch(() => undefined);
    await this.layerLines.close().catch(() => undefined);
    await this.ownership.release().catch(() => undefined);
  }

  private beat(): void {
    this.writeStatus().catch(() => {
      // A write that failed for another reason is tried again by the next one; readers on other hosts grant a minute.
      if (!this.ended && !existsSync(this.paths.directory)) this.goneController.abort(runRemoved(this.paths.directory));
    });
  }

  private every(interval: number, action: () => void): NodeJS.Timeout {
    const timer = setInterval(action, interval);
    timer.unref();
    this.timers.add(timer);
    return timer;
  }
}

function ignoreFailedHeartbeat(): void {
  // The next one tries again; readers on other hosts grant a minute.
}

/** @returns ends the watch; does nothing where a folder cannot be watched */
function watchFolder(folder: string, onChange: () => void): () => void {
  try {
    const watcher = watch(folder, { persistent: false }, onChange);
    watcher.on('error', () => watcher.close());
    return () => watcher.close();
  } catch {
    return () => undefined;
  }
}

/** Temporary files of writers that were killed before they could rename them. */
async function removeLeftovers(runDirectory: string, fileSystem: FileSystem): Promise<void> {
  for (const name of await readdir(runDirectory)) {
    if (/^\.(status|provenance|result)\.json\.[0-9a-f]+\.tmp$/.test(name)) {
      await fileSystem.unlink(path.join(runDirectory, name)).catch(() => undefined);
    }
  }
}

function runRemoved(runDirectory: string): UserError {
  return new UserError('RunRemoved', `${runDirectory} was removed or renamed while a trainer worked on it`, {
    hint: 'If it was renamed, it can be resumed from its last checkpoint under the new name.',
  });
}

/** What a failure means to the user; system errors of the disk are named by what to do about them. */
export function describeFailure(error: unknown, runDirectory: string): RunError {
  const code = systemErrorCode(error);
  if (code === 'ENOENT' && !existsSync(runDirectory)) return describeFailure(runRemoved(runDirectory), runDirectory);
  if (error instanceof UserError) {
    return { code: error.code, message: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }) };
  }
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return {
      code: 'DiskFull',
      message: `no space left for ${runDirectory}`,
      hint: `Free some space, then: lrqat resume ${path.basename(runDirectory)}`,
    };
  }
  const hint = error instanceof Error && 'hint' in error && typeof error.hint === 'string' ? error.hint : '';
  return {
    code: code ?? 'Internal',
    message: error instanceof Error ? error.message : String(error),
    ...(hint === '' ? {} : { hint }),
  };
}
