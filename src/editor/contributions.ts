// Everything package.json contributes that code refers to, declared once with its types: command ids with their call
// signatures, view ids, settings, context keys. A test proves that package.json agrees.
import type { Uri } from 'vscode';
import type { ExplorerElement } from './explorer/tree-model';

/** What a command on an experiment may be given: its file, an element of the tree, or nothing (then the active editor decides). */
export type ExperimentTarget = Uri | ExplorerElement | undefined;
/** What a command on runs may be given: the element it was invoked on and the whole selection, run directories, or nothing (then
 *  the user picks). */
export type RunTarget = ExplorerElement | string | readonly string[] | undefined;
type OnRuns = (target?: RunTarget, selection?: readonly ExplorerElement[]) => Promise<void>;

export interface CommandSignatures {
  'lrqat.startTraining': (target?: ExperimentTarget) => Promise<void>;
  'lrqat.newExperiment': () => Promise<void>;
  'lrqat.openForm': (target?: ExperimentTarget) => Promise<void>;
  'lrqat.openText': (target?: ExperimentTarget) => Promise<void>;
  'lrqat.openExperiment': (target?: ExperimentTarget) => Promise<void>;
  'lrqat.pause': OnRuns;
  'lrqat.resume': OnRuns;
  'lrqat.stop': OnRuns;
  'lrqat.checkpointNow': OnRuns;
  'lrqat.duplicate': OnRuns;
  'lrqat.openCharts': OnRuns;
  'lrqat.compareRuns': OnRuns;
  'lrqat.evaluate': OnRuns;
  'lrqat.sensitivity': (target?: ExperimentTarget) => Promise<void>;
  'lrqat.exportModel': OnRuns;
  'lrqat.deleteRun': OnRuns;
  'lrqat.deleteCheckpoints': OnRuns;
  'lrqat.renameRun': OnRuns;
  'lrqat.tagRun': OnRuns;
  'lrqat.starRun': OnRuns;
  'lrqat.unstarRun': OnRuns;
  'lrqat.noteRun': OnRuns;
  'lrqat.revealRun': OnRuns;
  'lrqat.copyRunPath': OnRuns;
  'lrqat.showLog': OnRuns;
  'lrqat.checkSetup': () => Promise<void>;
  'lrqat.openSample': () => Promise<void>;
  'lrqat.openWalkthrough': () => Promise<void>;
  'lrqat.showQueue': () => Promise<void>;
  'lrqat.addToQueue': (target?: ExperimentTarget, selection?: readonly ExplorerElement[]) => Promise<void>;
  'lrqat.queueUp': OnRuns;
  'lrqat.queueDown': OnRuns;
  'lrqat.queueFirst': OnRuns;
  'lrqat.queueLast': OnRuns;
  'lrqat.queueCancel': OnRuns;
  'lrqat.queueStart': OnRuns;
  'lrqat.refresh': () => Promise<void>;
  'lrqat.filter': () => Promise<void>;
  'lrqat.clearFilter': () => Promise<void>;
  'lrqat.sort': () => Promise<void>;
  'lrqat.group': () => Promise<void>;
}

export type CommandId = keyof CommandSignatures;

/** Where a command is offered: in the palette, or only where its argument is at hand. */
interface CommandDeclaration {
  readonly icon?: string;
  readonly palette: boolean;
}

export const COMMANDS: Readonly<Record<CommandId, CommandDeclaration>> = {
  'lrqat.startTraining': { icon: '$(play)', palette: true },
  'lrqat.newExperiment': { icon: '$(new-file)', palette: true },
  'lrqat.openForm': { icon: '$(edit)', palette: true },
  'lrqat.openText': { icon: '$(code)', palette: false },
  'lrqat.openExperiment': { icon: '$(go-to-file)', palette: false },
  'lrqat.pause': { icon: '$(debug-pause)', palette: true },
  'lrqat.resume': { icon: '$(debug-continue)', palette: true },
  'lrqat.stop': { icon: '$(debug-stop)', palette: true },
  'lrqat.checkpointNow': { icon: '$(save)', palette: true },
  'lrqat.duplicate': { icon: '$(files)', palette: true },
  'lrqat.openCharts': { icon: '$(graph-line)', palette: true },
  'lrqat.compareRuns': { icon: '$(diff)', palette: true },
  'lrqat.evaluate': { icon: '$(beaker)', palette: true },
  'lrqat.sensitivity': { icon: '$(flame)', palette: true },
  'lrqat.exportModel': { icon: '$(export)', palette: true },
  'lrqat.deleteRun': { icon: '$(trash)', palette: true },
  'lrqat.deleteCheckpoints': { palette: true },
  'lrqat.renameRun': { icon: '$(edit)', palette: true },
  'lrqat.tagRun': { icon: '$(tag)', palette: true },
  'lrqat.starRun': { icon: '$(star-empty)', palette: true },
  'lrqat.unstarRun': { icon: '$(star-full)', palette: true },
  'lrqat.noteRun': { icon: '$(note)', palette: true },
  'lrqat.revealRun': { icon: '$(folder-opened)', palette: true },
  'lrqat.copyRunPath': { icon: '$(copy)', palette: true },
  'lrqat.showLog': { icon: '$(output)', palette: true },
  'lrqat.checkSetup': { icon: '$(pulse)', palette: true },
  'lrqat.openSample': { icon: '$(book)', palette: true },
  'lrqat.openWalkthrough': { icon: '$(mortar-board)', palette: true },
  'lrqat.showQueue': { icon: '$(list-ordered)', palette: true },
  'lrqat.addToQueue': { icon: '$(add)', palette: true },
  'lrqat.queueUp': { icon: '$(arrow-up)', palette: true },
  'lrqat.queueDown': { icon: '$(arrow-down)', palette: true },
  'lrqat.queueFirst': { palette: true },
  'lrqat.queueLast': { palette: true },
  'lrqat.queueCancel': { icon: '$(close)', palette: true },
  'lrqat.queueStart': { icon: '$(play)', palette: true },
  'lrqat.refresh': { icon: '$(refresh)', palette: true },
  'lrqat.filter': { icon: '$(filter)', palette: false },
  'lrqat.clearFilter': { icon: '$(filter-filled)', palette: false },
  'lrqat.sort': { icon: '$(arrow-swap)', palette: false },
  'lrqat.group': { icon: '$(list-tree)', palette: false },
};

export const VIEW_CONTAINER = 'lrqat';
export const EXPLORER_VIEW = 'lrqat.explorer';
export const QUEUE_VIEW = 'lrqat.queue';
export const CHARTS_PANEL = 'lrqat.charts';
export const COMPARE_PANEL = 'lrqat.compare';
export const FORM_EDITOR = 'lrqat.form';
export const WALKTHROUGH = 'firstModel';
export type WalkthroughStep = 'sample' | 'form' | 'start' | 'charts' | 'compare' | 'export';
/** The sample's experiment file. */
export const SAMPLE_EXPERIMENT = 'w2-rank32.lrqat.json';
export const LANGUAGE = 'lrqat-experiment';
export const EXPERIMENT_SUFFIX = '.lrqat.json';
export const EXPERIMENT_GLOB = `**/*${EXPERIMENT_SUFFIX}`;
export const TASK_TYPE = 'lrqat';
export const PROBLEM_MATCHER = 'lrqat';

/** Context keys that `when` clauses of package.json may use. */
export const CONTEXT_KEYS = [
  'lrqat.filtered',
  'lrqat.hasRuns',
  'lrqat.hasLiveRuns',
  'lrqat.hasQueue',
  'lrqat.queueShown',
  'lrqat.loaded',
  'lrqat.did.sample',
  'lrqat.did.form',
  'lrqat.did.start',
  'lrqat.did.charts',
  'lrqat.did.compare',
  'lrqat.did.export',
] as const;
export type ContextKey = (typeof CONTEXT_KEYS)[number];

/** Settings with their types and defaults; keys as in package.json. */
export interface Settings {
  'lrqat.runsFolder': string;
  'lrqat.additionalRunFolders': readonly string[];
  'lrqat.nodePath': string;
  'lrqat.nativeFolder': string;
  'lrqat.openChartsOnStart': boolean;
  'lrqat.notifications': 'all' | 'failures' | 'none';
  'lrqat.codeLens': boolean;
  'lrqat.queue.parallel': number;
}

export type SettingKey = keyof Settings;

export const SETTING_DEFAULTS: Readonly<Settings> = {
  'lrqat.runsFolder': '',
  'lrqat.additionalRunFolders': [],
  'lrqat.nodePath': '',
  'lrqat.nativeFolder': '',
  'lrqat.openChartsOnStart': true,
  'lrqat.notifications': 'all',
  'lrqat.codeLens': true,
  'lrqat.queue.parallel': 1,
};

/** Settings that decide which program runs or where files are written: of the machine, never of a workspace. */
export const MACHINE_SETTINGS: readonly SettingKey[] = ['lrqat.nodePath', 'lrqat.nativeFolder'];
/** Taken from a workspace only when it is trusted. */
export const RESTRICTED_SETTINGS: readonly SettingKey[] = [
  'lrqat.runsFolder',
  'lrqat.additionalRunFolders',
  'lrqat.nodePath',
  'lrqat.nativeFolder',
];
