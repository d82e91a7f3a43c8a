// What features share. Made once in extension.ts.
import type { ExtensionContext, LogOutputChannel } from 'vscode';
import type { EngineFacts } from './start/engine-facts';
import type { WorkspaceRuns } from './workspace-runs';
import type { QueueKeeper } from './queue/queue-keeper';
import type { Register } from './register';
import type { RateStore } from './validation/measured-rates';
import type { WorldClient } from './validation/world-client';
import type { Walkthrough } from './walkthrough';

export interface Services {
  readonly context: ExtensionContext;
  readonly log: LogOutputChannel;
  readonly register: Register;
  readonly runs: WorkspaceRuns;
  readonly queue: QueueKeeper;
  readonly engine: EngineFacts;
  readonly world: WorldClient;
  readonly rates: RateStore;
  readonly walkthrough: Walkthrough;
}
