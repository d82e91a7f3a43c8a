// Options and actions of the comparison.
import { element, setAttributes, setText } from '../shared/dom';
import { icon } from '../shared/icons';
import { button, checkbox, setChecked, setDisabled } from '../shared/toolkit';
import { FORMATS, LAYOUTS, type CopyFormat, type Layout, type PanelState } from './protocol';
import { formatName, text } from './strings';

export interface ToolbarHost {
  readonly onLayout: (layout: Layout) => void;
  readonly onFilter: (filter: string) => void;
  readonly onSearch: (search: string) => void;
  readonly onHideIdentical: (hide: boolean) => void;
  readonly onPicture: (shown: boolean) => void;
  readonly onAdd: () => void;
  readonly onCharts: () => void;
  readonly onCopy: (format: CopyFormat) => void;
  readonly onReport: () => void;
}

export class Toolbar {
  readonly root: HTMLElement;
  private readonly heading = element('h1');
  private readonly layouts: ReadonlyMap<Layout, HTMLInputElement>;
  private readonly filter: HTMLInputElement;
  private readonly search: HTMLInputElement;
  private readonly hide: HTMLElement;
  private readonly picture: HTMLElement;
  private readonly onRuns: readonly HTMLElement[];

  constructor(host: ToolbarHost) {
    this.layouts = new Map(
      LAYOUTS.map((layout) => {
        const input = element('input', { type: 'radio', name: 'layout', value: layout, id: `layout-${layout}` });
        input.addEventListener('change', () => host.onLayout(layout));
        return [layout, input];
      }),
    );
    this.filter = searchBox('filter', text.filter(), text.filterTitle(), host.onFilter);
    this.search = searchBox('search', text.search(), text.search(), host.onSearch);
    this.hide = checkbox({
      label: text.hideIdentical(),
      title: text.hideIdenticalTitle(),
      checked: false,
      onChange: host.onHideIdentical,
    });
    this.picture = checkbox({
      label: text.showPicture(),
      title: text.picture(),
      checked: true,
      onChange: host.onPicture,
    });
    const charts = button({
      look: 'icon',
      label: text.chartsTitle(),
      text: text.charts(),
      icon: icon('curves'),
      onClick: host.onCharts,
    });
    const copies = FORMATS.map((format) =>
      button({
        look: 'icon',
        label: text.copyTitle(formatName(format)),
        text: formatName(format),
        onClick: () => host.onCopy(format),
      }),
    );
    const report = button({
      look: 'icon',
      label: text.reportTitle(),
      text: text.report(),
      icon: icon('report'),
      onClick: host.onReport,
    });
    this.onRuns = [charts, ...copies, report];
    const layoutName = { columns: text.columns, rows: text.rows };
    this.root = element(
      'header',
      { class: 'top' },
      element(
        'div',
        { class: 'toolbar' },
        this.heading,
        element('span', { class: 'spring' }),
        button({ look: 'icon', label: text.addRun(), text: text.addRun(), icon: icon('add'), onClick: host.onAdd }),
        charts,
        element(
          'span',
          { class: 'copy', role: 'group', 'aria-label': text.copyAs() },
          icon('copy'),
          element('span', { class: 'field-label' }, text.copyAs()),
          ...copies,
        ),
        report,
      ),
      element(
        'div',
        { class: 'toolbar', role: 'group', 'aria-label': text.optionsLabel() },
        element(
          'fieldset',
          { class: 'segments' },
          element('legend', { class: 'field-label' }, text.runsAs()),
          ...[...this.layouts].map(([layout, input]) =>
            element('span', { class: 'segment' }, input, element('label', { for: input.id }, layoutName[layout]())),
          ),
        ),
        this.filter,
        this.search,
        this.hide,
        element('span', { class: 'spring' }),
        this.picture,
      ),
    );
  }

  render(state: PanelState, shown: number, all: number): void {
    setText(this.heading, text.heading(shown, all));
    for (const [layout, input] of this.layouts) input.checked = layout === state.layout;
    for (const [input, value] of [
      [this.filter, state.filter],
      [this.search, state.search],
    ] as const) {
      if (input.value !== value && document.activeElement !== input) input.value = value;
    }
    setChecked(this.hide, state.hideIdentical);
    setChecked(this.picture, state.picture.shown);
    for (const each of this.onRuns) setDisabled(each, shown === 0);
  }
}

function searchBox(id: string, label: string, title: string, onInput: (value: string) => void): HTMLInputElement {
  const input = element('input', { type: 'search', id, class: 'search', spellcheck: 'false' });
  setAttributes(input, { placeholder: label, 'aria-label': label, title });
  input.addEventListener('input', () => onInput(input.value));
  return input;
}
