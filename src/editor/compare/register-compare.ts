// Compare Runs.
import { panelState } from '../../../webview/compare/protocol';
import { COMPARE_PANEL } from '../contributions';
import { l10n } from '../l10n';
import { registerRunPanels } from '../run-panels';
import type { Services } from '../services';
import { ComparePanel } from './compare-panel';

export function registerCompare(services: Services): void {
  registerRunPanels(
    {
      command: 'lrqat.compareRuns',
      title: l10n.t('Compare Runs'),
      viewType: COMPARE_PANEL,
      state: panelState,
      // Oldest first, as in the folder: the first is the baseline.
      arrange: (directories) => [...directories].sort(),
      create: (directories) => ComparePanel.create(directories, services),
      revive: (panel, directories) => new ComparePanel(panel, directories, services),
    },
    services,
  );
}
