// One run of a charts panel: reads its files as they grow and holds what the panel is to be told.
import { readFile } from 'node:fs/promises';
import { watch, type FSWatcher } from 'node:fs';
import { Uri } from 'vscode';
import { RunFeed } from '../../../webview/charts/feed';
import type { RunInfo } from '../../../webview/charts/protocol';
import { UserError } from '../../errors';
import { settingName } from '../../experiment/setting-name';
import { isEnded, isLive, RunReader, runPaths, type ListedRun } from '../../runs';
import type { WorkspaceRuns } from '../workspace-runs';
import { READ_LIMIT } from './read-limit';
import { deviceText, runInfo } from './run-info';

export class ChartRun {
  readonly id: string;
  readonly feed: RunFeed;
  private reader: RunReader;
  private watcher: FSWatcher | null = null;
  private last: ListedRun | null = null;
  loading: RunInfo['loading'] = null;
  device: string | null = null;
  setting: string | null = null;
  private complete = false;
  private reading: Promise<boolean> | null = null;
  pending: RunInfo['pending'] = null;

  constructor(
    readonly directory: string,
    private readonly runs: WorkspaceRuns,
    private readonly log: { warn(message: string): void },
  ) {
    this.id = Uri.file(directory).toString();
    this.feed = new RunFeed(this.id);
    this.reader = new RunReader(directory, { layers: true, limit: READ_LIMIT });
  }

  info(): RunInfo {
    const entry = this.runs.get(this.directory);
    if (entry?.kind === 'run') this.last = entry;
    return runInfo(this.id, this.directory, entry, this.last, this);
  }

  /** Reads the next piece. Returns whether there is more to read at once. */
  read(): Promise<boolean> {
    this.reading ??= this.readPiece().finally(() => (this.reading = null));
    return this.reading;
  }

  /** A run that has ended and is read to its end needs no further look until it is resumed. */
  get needsReading(): boolean {
    const entry = this.runs.get(this.directory);
    return !this.complete || (entry !== undefined && isLive(entry));
  }

  /** Calls `onChange` when a file of the run changes, where the system tells. */
  watch(onChange: () => void): void {
    if (this.watcher !== null) return;
    try {
      this.watcher = watch(this.directory, onChange);
      this.watcher.on('error', () => this.unwatch());
    } catch {
      // The panel looks by itself as well.
    }
  }

  unwatch(): void {
    this.watcher?.close();
    this.watcher = null;
  }

  dispose(): void {
    this.unwatch();
  }

  /** Damaged status, folder gone: what has been read stays, and the header says what is wrong. */
  private async readPiece(): Promise<boolean> {
    try {
      const update = await this.reader.poll();
      this.feed.add(update);
      const { done, total } = update.bytes;
      const hasMore = done < total;
      this.loading = hasMore ? { done, total } : null;
      // Status is read before events: an ended one means that these were all.
      this.complete = !hasMore && isEnded(update.state);
      if (this.device === null) await this.readDevice();
      if (this.setting === null) await this.readSetting();
      return hasMore;
    } catch (error) {
      if (!(error instanceof UserError)) this.log.warn(`${this.directory}: ${String(error)}`);
      this.loading = null;
      this.complete = true;
      return false;
    }
  }

  private async readSetting(): Promise<void> {
    try {
      this.setting = settingName(JSON.parse(await readFile(runPaths(this.directory).experiment, 'utf8')));
    } catch {
      // As for the device.
    }
  }

  private async readDevice(): Promise<void> {
    try {
      const provenance: unknown = JSON.parse(await readFile(runPaths(this.directory).provenance, 'utf8'));
      if (typeof provenance === 'object' && provenance !== null && 'device' in provenance) {
        this.device = deviceText(provenance.device);
      }
    } catch {
      // Not there yet, or damaged: the header does without.
    }
  }
}
