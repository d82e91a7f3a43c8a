// Restricted mode: reading is always fine; whatever starts a process, loads a library or changes a run asks here first.
import { commands, workspace } from 'vscode';
import { l10n } from './l10n';
import { ActionableError } from './register';

/** @param doing what is refused, as in "Training is off …"
 *  @throws ActionableError RestrictedMode */
export function requireTrust(doing: string): void {
  if (workspace.isTrusted) return;
  throw new ActionableError(
    'RestrictedMode',
    l10n.t('{0} is off in restricted mode, because it starts programs on files of this workspace.', doing),
    { title: l10n.t('Manage Trust'), run: () => commands.executeCommand('workbench.trust.manage') },
  );
}
