// What to tell the user about a run that does not simply run: what has happened and what can be done. Pure.
import { formatSeconds } from '../../src/experiment/format-numbers';
import type { RunInfo } from './protocol';
import { text } from './strings';

export type AdviceAction = 'resume' | 'log' | 'folder' | 'experiment';

export interface Advice {
  readonly severity: 'information' | 'warning' | 'error';
  readonly title: string;
  readonly text: string;
  /** The most useful one first. */
  readonly actions: readonly AdviceAction[];
  /** Something is under way. */
  readonly busy: boolean;
}

/** null: there is nothing to say that the header does not say.
 *  @param now milliseconds since 1970. */
export function adviceFor(run: RunInfo, now: number): Advice | null {
  if (run.problem !== null) {
    return advice('error', text.problemTitle(), sentences(run.problem.message, run.problem.hint), ['folder', 'log']);
  }
  if (run.loading !== null) {
    const { done, total } = run.loading;
    const share = `${String(Math.floor((100 * done) / Math.max(1, total)))} %`;
    return { ...advice('information', text.loadingTitle(), text.loadingText(share), []), busy: true };
  }
  const from = run.lastCheckpoint;
  switch (run.state) {
    case 'queued':
      return advice('information', text.queuedTitle(), text.queuedText(), []);
    case 'starting':
      return { ...advice('information', text.startingTitle(), text.startingText(), ['log']), busy: true };
    case 'paused':
      return advice('information', text.pausedTitle(), text.pausedText(), []);
    case 'stopped': {
      const said = from === null ? text.stoppedNoCheckpoint() : text.stoppedText(String(from));
      return advice('information', text.stoppedTitle(), said, ['log']);
    }
    case 'failed': {
      const reason = run.error === null ? '' : sentences(run.error.message, run.error.hint);
      return advice('error', text.failedTitle(), reason, ['log', 'resume', 'experiment']);
    }
    case 'crashed': {
      const said = from === null ? text.stoppedNoCheckpoint() : text.crashedCheckpoint(String(from));
      return advice('error', text.crashedTitle(), `${text.crashedText()} ${said}`, ['resume', 'log']);
    }
    case 'stale': {
      const since = formatSeconds(Math.max(0, now - run.heartbeat) / 1000);
      return advice('warning', text.staleTitle(), text.staleText(since), ['resume', 'log']);
    }
    case 'running':
    case 'stopping':
    case 'finished':
      return null;
  }
}

function advice(severity: Advice['severity'], title: string, said: string, actions: readonly AdviceAction[]): Advice {
  return { severity, title, text: said, actions, busy: false };
}

function sentences(message: string, hint: string | null): string {
  const ended = /[.!?]$/.test(message) ? message : `${message}.`;
  return hint === null ? ended : `${ended} ${hint}`;
}
