// lrqat compare RUN…
import path from 'node:path';
import {
  compareRuns,
  comparisonCsv,
  comparisonJson,
  comparisonMarkdown,
  comparisonTables,
  type ComparedRun,
  type Json,
} from '../../compare';
import { effectiveEvents, findRun, readResult, RunReader, runPaths } from '../../runs';
import { readJson } from '../../runs/json-file';
import { runsFolderOf, type Context, type RunsOption } from '../context';
import { EXIT } from '../exit-codes';
import { renderTable } from '../table';

export type CompareFormat = 'table' | 'csv' | 'markdown' | 'json';
export const COMPARE_FORMATS: readonly CompareFormat[] = ['table', 'csv', 'markdown', 'json'];

export interface CompareOptions extends RunsOption {
  readonly format: CompareFormat;
}

export async function compare(names: readonly string[], options: CompareOptions, context: Context): Promise<number> {
  const folder = runsFolderOf(context, options);
  const directories = names.map((name) => findRun(name, folder));
  const comparison = compareRuns(await Promise.all(directories.map(readRun)));
  const { output } = context;
  switch (options.format) {
    case 'csv':
      output.write(comparisonCsv(comparison));
      break;
    case 'markdown':
      output.write(comparisonMarkdown(comparison));
      break;
    case 'json':
      output.write(comparisonJson(comparison));
      break;
    case 'table':
      comparisonTables(comparison).forEach(({ title, header, rows }, index) => {
        if (index > 0) output.line();
        output.line(output.paint('bold', title));
        const columns = header.map((text, column) => ({
          title: text,
          align: column === 0 ? ('left' as const) : ('right' as const),
          shrinkTo: 20,
        }));
        for (const line of renderTable(columns, rows, { width: output.width() })) output.line(line);
      });
  }
  return EXIT.ok;
}

async function readRun(directory: string): Promise<ComparedRun> {
  const { status, state, events } = await new RunReader(directory).poll();
  const experiment = (await readJson(runPaths(directory).experiment)) as Json | undefined;
  return {
    name: path.basename(directory),
    state,
    status,
    experiment: experiment ?? null,
    result: await readResult(directory),
    events: effectiveEvents(events),
  };
}
