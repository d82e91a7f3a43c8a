// One run of a compare panel: what the explorer knows of it, its experiment, and its evaluations while there is no result.
import { Uri } from 'vscode';
import type { Run } from '../../../webview/compare/protocol';
import { factsOf, type Json } from '../../compare';
import { EventLog, isLive, RunReader, runPaths, type EvalEvent, type ListedRun, type ResumeEvent } from '../../runs';
import { readJson } from '../../runs/json-file';
import { runLabel, shareDone } from '../explorer/run-text';
import { l10n } from '../l10n';
import type { WorkspaceRuns } from '../workspace-runs';

/** Bytes of a metrics file to read in one go. */
const LIMIT = 4 * 1024 * 1024;

export class CompareRun {
  readonly id: string;
  private readonly reader: RunReader;
  private readonly evaluations = new EventLog<EvalEvent | ResumeEvent>();
  private experiment: Json = null;
  private hasExperiment = false;
  private isComplete = false;
  private last: ListedRun | null = null;
  private reading: Promise<boolean> | null = null;

  constructor(
    readonly directory: string,
    private readonly runs: WorkspaceRuns,
  ) {
    this.id = Uri.file(directory).toString();
    this.reader = new RunReader(directory, { limit: LIMIT });
  }

  /** What the panel is told; null: nothing is known of the run, and never was. */
  row(): Run | null {
    const entry = this.runs.get(this.directory);
    if (entry?.kind === 'run') this.last = entry;
    const run = this.last;
    if (run === null) return null;
    const facts = factsOf({ ...run, experiment: this.experiment, events: this.evaluations.events });
    const experiment = run.origin.experimentName ?? run.name;
    // With a name of its own the run says of which experiment it is, else when it was started.
    const label = facts.title === facts.name ? runLabel({ ...run, notes: {} }) : experiment;
    const problem =
      entry === undefined
        ? l10n.t('The run folder is gone: it was deleted or moved.')
        : entry.kind === 'broken'
          ? l10n.t('The run cannot be read: {0}', entry.reason)
          : null;
    return { ...facts, id: this.id, label, experiment, done: shareDone(run), problem };
  }

  /** Reads what row() needs beside what the explorer knows. Returns whether there is more to read at once.
   *  @throws UserError where files are damaged */
  read(): Promise<boolean> {
    this.reading ??= this.readPiece().finally(() => (this.reading = null));
    return this.reading;
  }

  private async readPiece(): Promise<boolean> {
    if (!this.hasExperiment) {
      this.experiment = checked(await readJson(runPaths(this.directory).experiment));
      this.hasExperiment = true;
    }
    const entry = this.runs.get(this.directory);
    if (entry?.kind !== 'run' || entry.result !== null) return false;
    if (this.isComplete && !isLive(entry)) return false;
    const update = await this.reader.poll();
    if (update.reset) this.evaluations.clear();
    for (const event of update.events) {
      if (event.type === 'eval' || event.type === 'resume') this.evaluations.add(event);
    }
    const hasMore = update.bytes.done < update.bytes.total;
    this.isComplete = !hasMore;
    return hasMore;
  }
}

/** JSON has no other values; numbers that JSON cannot hold (1e999) have become infinite and cannot be sent on. */
function checked(value: unknown): Json {
  return JSON.parse(JSON.stringify(value ?? null)) as Json;
}
