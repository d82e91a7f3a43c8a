// Where an export works before anything has its final name: a hidden folder beside the output, on the same disk. What a killed
// export has left there goes away with the next one to the same place.
import { access, constants, readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { systemErrorCode, UserError } from '../../errors';
import { formatBytes } from '../../experiment';
import { temporaryName, writeFile, type FileSystem } from '../../formats/file-system';
import { freeSpace } from '../../formats/free-space';
import { isObject } from '../../formats/show-value';
import { currentProcess, livenessOf, type ProcessIdentity } from '../../runs/process-identity';

const OWNER_FILE = 'owner.json';
/** What an export replaces lies here from the moment it leaves its place until the new one stands there. */
export const REPLACED = 'replaced';

export interface ScratchOptions {
  readonly fileSystem: FileSystem;
  /** Bytes that may still be written to the disk of a folder; null: not known. */
  readonly freeBytes?: (folder: string) => Promise<number | null>;
}

export class Scratch {
  private made: Promise<string> | null = null;

  /** @param place the folder lies beside it, under a hidden name that holds its name; made when first needed */
  constructor(
    private readonly place: string,
    private readonly options: ScratchOptions,
  ) {}

  /** Path of something new in the folder, after a look at what the disk has free.
   *  @param what `the decoded copy`, for the message
   *  @throws UserError DiskFull */
  async path(name: string, bytes: number, what: string): Promise<string> {
    const folder = await this.folder();
    const free = await (this.options.freeBytes ?? freeSpace)(folder);
    if (free !== null && free < bytes) {
      throw new UserError(
        'DiskFull',
        `${path.dirname(folder)}: ${what} takes ${formatBytes(bytes)}, the disk has ${formatBytes(free)} free`,
        { hint: 'Free some space, or choose an --out on another disk.' },
      );
    }
    return path.join(folder, name);
  }

  /** Removes one of them before its time, to free the disk. */
  async discard(file: string): Promise<void> {
    await this.options.fileSystem.removeTree(file);
  }

  /** Removes all that is left; fine when nothing was made. */
  async remove(): Promise<void> {
    const folder = await this.made?.catch(() => null);
    if (typeof folder === 'string') await this.options.fileSystem.removeTree(folder);
  }

  private folder(): Promise<string> {
    this.made ??= this.make();
    return this.made;
  }

  private async make(): Promise<string> {
    const { fileSystem } = this.options;
    const folder = temporaryName(this.place);
    await fileSystem.mkdir(path.dirname(folder));
    await fileSystem.mkdir(folder);
    try {
      await writeFile(fileSystem, path.join(folder, OWNER_FILE), JSON.stringify(currentProcess()));
    } catch (error) {
      await fileSystem.removeTree(folder).catch(() => undefined);
      throw error;
    }
    return folder;
  }
}

/** Takes away what exports to this place have left whose process is dead. One that was killed while it replaced an export gives
 *  the old one its place back. */
export async function removeAbandoned(place: string, fileSystem: FileSystem): Promise<void> {
  const parent = path.dirname(place);
  for (const name of await list(parent)) {
    if (!isScratchOf(place, name)) continue;
    const folder = path.join(parent, name);
    const owner = await readOwner(folder);
    if (owner === null) await removeIfUnowned(folder, fileSystem);
    else if (livenessOf(owner) === 'dead') {
      const replaced = path.join(folder, REPLACED);
      if ((await exists(replaced)) && !(await exists(place))) await fileSystem.rename(replaced, place);
      await fileSystem.removeTree(folder);
    }
  }
}

/** Whether {@link temporaryName} makes such names for a place. */
function isScratchOf(place: string, name: string): boolean {
  const start = `.${path.basename(place)}.`;
  return name.startsWith(start) && /^[0-9a-f]{12}\.tmp$/.test(name.slice(start.length));
}

async function list(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}

/** null: there is none, or it is not ours. */
async function readOwner(folder: string): Promise<ProcessIdentity | null> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path.join(folder, OWNER_FILE), 'utf8'));
  } catch {
    return null;
  }
  if (!isObject(value)) return null;
  const { host, bootId, pidNamespace, pid, processStart } = value;
  const isText = (text: unknown): text is string | null => text === null || typeof text === 'string';
  return typeof host === 'string' &&
    typeof pid === 'number' &&
    isText(bootId) &&
    isText(pidNamespace) &&
    isText(processStart)
    ? { host, bootId, pidNamespace, pid, processStart }
    : null;
}

/** A process killed before its owner.json was whole leaves a folder with nothing else; a living one needs less than a minute for
 *  that. */
async function removeIfUnowned(folder: string, fileSystem: FileSystem): Promise<void> {
  const others = (await list(folder)).filter((name) => name !== OWNER_FILE);
  if (others.length > 0) return;
  const age = await stat(folder).then(
    ({ mtimeMs }) => Date.now() - mtimeMs,
    () => 0,
  );
  if (age > 60_000) await fileSystem.removeTree(folder);
}

/** Whether something can be made in a folder, which need not be there yet. */
export async function isWritable(folder: string): Promise<boolean> {
  try {
    await access(folder, constants.W_OK);
    return true;
  } catch (error) {
    const parent = path.dirname(folder);
    return systemErrorCode(error) === 'ENOENT' && parent !== folder && (await isWritable(parent));
  }
}
