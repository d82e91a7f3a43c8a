// Commands by their declared signatures, with one way to deal with what they throw.
import { commands, window, type Disposable, type LogOutputChannel } from 'vscode';
import { messageOf, UserError } from '../errors';
import type { CommandId, CommandSignatures, ContextKey } from './contributions';
import { l10n } from './l10n';
import { refusalOf } from './system-errors';

/** A failure that offers one thing to do about it. */
export class ActionableError extends UserError {
  constructor(
    code: string,
    message: string,
    readonly action: { readonly title: string; readonly run: () => unknown },
    options: { readonly hint?: string; readonly cause?: unknown } = {},
  ) {
    super(code, message, options);
  }
}

export type Register = <Id extends CommandId>(id: Id, handler: CommandSignatures[Id]) => Disposable;

export function registerWith(log: LogOutputChannel): Register {
  return (id, handler) =>
    commands.registerCommand(id, async (...args: unknown[]) => {
      try {
        await (handler as (...all: unknown[]) => Promise<void>)(...args);
      } catch (error) {
        // Not awaited: a command has ended when its message is shown, not when that is closed.
        void showError(error, log);
      }
    });
}

/** One sentence and one action; the whole story goes to the log. */
export async function showError(error: unknown, log: LogOutputChannel): Promise<void> {
  if (error instanceof UserError) {
    log.error(`${error.code}: ${error.message}${error.hint === undefined ? '' : `\n  ${error.hint}`}`);
  } else {
    log.error(error instanceof Error ? error : String(error));
  }
  const action =
    error instanceof ActionableError ? error.action : { title: l10n.t('Show Log'), run: () => log.show(true) };
  const hint = error instanceof UserError && error.hint !== undefined ? ` ${error.hint}` : '';
  const text = `${sentence(refusalOf(error) ?? firstLine(messageOf(error)))}${hint}`;
  if ((await window.showErrorMessage(text, action.title)) === action.title) await action.run();
}

const firstLine = (text: string): string => text.split('\n')[0] ?? '';

function sentence(text: string): string {
  const closed = /[.!?…:]$/.test(text) ? text : `${text}.`;
  return closed.charAt(0).toUpperCase() + closed.slice(1);
}

export function executeCommand<Id extends CommandId>(
  id: Id,
  ...args: Parameters<CommandSignatures[Id]>
): Thenable<void> {
  return commands.executeCommand(id, ...args);
}

export function setContext(key: ContextKey, value: boolean): void {
  void commands.executeCommand('setContext', key, value);
}
