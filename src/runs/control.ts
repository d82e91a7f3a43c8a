// control/<seq>-<verb>.json: what anyone who can write to the run directory asks of its trainer. Works across hosts, because
// nothing but files is involved. The trainer acknowledges in status.json.
import { readdir } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemErrorCode } from '../errors';
import { nodeFileSystem, writeFile, type FileSystem } from '../formats/file-system';
import { jsonText, readJson } from './json-file';
import { runPaths } from './layout';
import type { ControlVerb } from './status';
import { readStatus } from './status-file';

export interface ControlMessage {
  readonly sequence: number;
  readonly verb: ControlVerb;
  /** With `stop`: write a checkpoint first. false gives up the work since the last one. */
  readonly save: boolean;
  readonly time: number;
  /** Who asked, for the log. */
  readonly from: string;
}

export interface SendOptions {
  readonly save?: boolean;
  readonly fileSystem?: FileSystem;
  readonly now?: () => number;
}

const NAME = /^(\d{8})-(pause|resume|stop|checkpoint)\.json$/;
const CLAIM = /^(\d{8})\.tmp$/;

const claimName = (sequence: number): string => `${String(sequence).padStart(8, '0')}.tmp`;
const messageName = (sequence: number, verb: ControlVerb): string =>
  `${String(sequence).padStart(8, '0')}-${verb}.json`;

/** Asks the trainer of a run for something; resolves to the message's sequence number once it is in place. */
export async function sendControl(runDirectory: string, verb: ControlVerb, options: SendOptions = {}): Promise<number> {
  const fileSystem = options.fileSystem ?? nodeFileSystem;
  const { control } = runPaths(runDirectory);
  await fileSystem.mkdir(control);
  const acknowledged = (await readStatus(runDirectory))?.acknowledged?.sequence ?? 0;
  for (;;) {
    const sequence = Math.max(acknowledged, ...sequences(await readdir(control))) + 1;
    const claim = path.join(control, claimName(sequence));
    const message: ControlMessage = {
      sequence,
      verb,
      save: options.save ?? true,
      time: (options.now ?? Date.now)(),
      from: `process ${String(process.pid)} on ${os.hostname()}`,
    };
    try {
      await writeFile(fileSystem, claim, jsonText(message), { exclusive: true });
    } catch (error) {
      if (systemErrorCode(error) === 'EEXIST') continue;
      throw error;
    }
    // Another sender may have claimed and renamed the same number between our look and our claim.
    const others = (await readdir(control)).filter((name) => name !== claimName(sequence));
    if (sequences(others).includes(sequence)) {
      await fileSystem.unlink(claim);
      continue;
    }
    await fileSystem.rename(claim, path.join(control, messageName(sequence, verb)));
    return sequence;
  }
}

function sequences(names: readonly string[]): number[] {
  return names.flatMap((name) => {
    const digits = (NAME.exec(name) ?? CLAIM.exec(name))?.[1];
    return digits === undefined ? [] : [Number(digits)];
  });
}

/** Waits until the trainer has acted on a message; false when `timeout` milliseconds have passed. */
export async function waitForAcknowledgement(
  runDirectory: string,
  sequence: number,
  timeout: number,
): Promise<boolean> {
  for (const end = Date.now() + timeout; ;) {
    const status = await readStatus(runDirectory);
    if ((status?.acknowledged?.sequence ?? 0) >= sequence) return true;
    if (Date.now() >= end) return false;
    await sleep(100);
  }
}

/** Removes all messages. For whoever starts a trainer again: what was asked of the dead one is not meant for the next. */
export async function clearControls(runDirectory: string, fileSystem: FileSystem = nodeFileSystem): Promise<void> {
  const { control } = runPaths(runDirectory);
  for (const name of await namesIn(control)) {
    if (NAME.test(name) || CLAIM.test(name)) await fileSystem.unlink(path.join(control, name)).catch(ignoreMissing);
  }
}

/** The trainer's side: messages in order, each once. */
export class ControlInbox {
  private readonly handled = new Set<string>();

  /** @param after messages up to this sequence number have been acted on by an earlier attempt. */
  constructor(
    private readonly runDirectory: string,
    private readonly after: number,
  ) {}

  async poll(): Promise<ControlMessage[]> {
    const { control } = runPaths(this.runDirectory);
    const messages: ControlMessage[] = [];
    for (const name of (await namesIn(control)).sort()) {
      const match = NAME.exec(name);
      if (match?.[1] === undefined || this.handled.has(name)) continue;
      this.handled.add(name);
      const sequence = Number(match[1]);
      if (sequence <= this.after) continue;
      messages.push(parseMessage(sequence, match[2] as ControlVerb, await readContents(path.join(control, name))));
    }
    return messages;
  }
}

/** A file made by hand (`touch 00000001-stop.json`) is as good as one of ours: the name says it all. */
async function readContents(file: string): Promise<unknown> {
  return readJson(file).catch(() => undefined);
}

function parseMessage(sequence: number, verb: ControlVerb, value: unknown): ControlMessage {
  const fields = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  return {
    sequence,
    verb,
    save: fields.save !== false,
    time: typeof fields.time === 'number' ? fields.time : 0,
    from: typeof fields.from === 'string' ? fields.from : 'unknown',
  };
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

function ignoreMissing(error: unknown): void {
  if (systemErrorCode(error) !== 'ENOENT') throw error;
}
