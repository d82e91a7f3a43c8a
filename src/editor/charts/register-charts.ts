// Open Live Charts.
import { panelState } from '../../../webview/charts/protocol';
import { CHARTS_PANEL } from '../contributions';
import { l10n } from '../l10n';
import { registerRunPanels } from '../run-panels';
import type { Services } from '../services';
import { ChartsPanel } from './charts-panel';

export function registerCharts(services: Services): void {
  registerRunPanels(
    {
      command: 'lrqat.openCharts',
      title: l10n.t('Open Live Charts'),
      viewType: CHARTS_PANEL,
      state: panelState,
      create: (directories) => ChartsPanel.create(directories, services),
      revive: (panel, directories) => new ChartsPanel(panel, directories, services),
    },
    services,
  );
}
