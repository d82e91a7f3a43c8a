// Options that hold for all charts.
import { element, setText } from '../shared/dom';
import { icon } from '../shared/icons';
import { button, checkbox, setChecked, setDisabled } from '../shared/toolkit';
import { X_AXES, type PanelState, type XAxis } from './protocol';
import { axisName, text } from './strings';

export interface ToolbarHost {
  readonly onAxis: (axis: XAxis) => void;
  readonly onLogX: (log: boolean) => void;
  readonly onSmoothing: (weight: number) => void;
  readonly onFollow: (follow: boolean) => void;
  readonly onReset: () => void;
  readonly onExport: () => void;
}

/** The slider moves evenly in the number of steps that the average looks back on (1 / (1 − w)), not in w, which would put all
 *  that is useful into its last tenth. 0 … 100 → 0 … 0.999. */
export function weightOf(position: number): number {
  return position <= 0 ? 0 : Math.round((1 - 10 ** ((-3 * position) / 100)) * 1000) / 1000;
}

export function positionOfWeight(weight: number): number {
  return weight <= 0 ? 0 : Math.min(100, Math.round((-100 / 3) * Math.log10(1 - weight)));
}

export class Toolbar {
  readonly root: HTMLElement;
  private readonly axes: ReadonlyMap<XAxis, HTMLInputElement>;
  private readonly logX: HTMLElement;
  private readonly slider: HTMLInputElement;
  private readonly sliderValue = element('output', { class: 'slider-value' });
  private readonly follow: HTMLElement;
  private readonly reset: HTMLElement;

  constructor(host: ToolbarHost) {
    this.axes = new Map(
      X_AXES.map((axis) => {
        const input = element('input', { type: 'radio', name: 'x-axis', value: axis, id: `x-${axis}` });
        input.addEventListener('change', () => host.onAxis(axis));
        return [axis, input];
      }),
    );
    this.logX = checkbox({ label: text.logX(), title: text.logXTitle(), checked: false, onChange: host.onLogX });
    this.follow = checkbox({ label: text.follow(), title: text.followTitle(), checked: true, onChange: host.onFollow });
    this.slider = element('input', { type: 'range', id: 'smoothing', min: 0, max: 100, step: 1, class: 'slider' });
    this.slider.title = text.smoothingTitle();
    this.slider.addEventListener('input', () => host.onSmoothing(weightOf(Number(this.slider.value))));
    this.reset = button({
      look: 'icon',
      label: text.resetZoom(),
      text: text.resetZoom(),
      icon: icon('reset'),
      onClick: host.onReset,
    });
    this.root = element(
      'div',
      { class: 'toolbar', role: 'group', 'aria-label': text.optionsLabel() },
      element(
        'fieldset',
        { class: 'segments' },
        element('legend', { class: 'field-label' }, text.xAxis()),
        ...[...this.axes].map(([axis, input]) =>
          element('span', { class: 'segment' }, input, element('label', { for: input.id }, axisName(axis))),
        ),
      ),
      this.logX,
      element(
        'span',
        { class: 'field' },
        element('label', { class: 'field-label', for: 'smoothing' }, text.smoothing()),
        this.slider,
        this.sliderValue,
      ),
      this.follow,
      element('span', { class: 'spring' }),
      this.reset,
      button({
        look: 'icon',
        label: text.exportAllTitle(),
        text: text.exportAll(),
        icon: icon('csv'),
        onClick: host.onExport,
      }),
    );
  }

  render(state: PanelState, zoomed: boolean): void {
    for (const [axis, input] of this.axes) input.checked = axis === state.x;
    setChecked(this.logX, state.logX);
    setChecked(this.follow, state.follow);
    const position = String(positionOfWeight(state.smoothing));
    if (this.slider.value !== position && document.activeElement !== this.slider) this.slider.value = position;
    this.slider.setAttribute('aria-valuetext', state.smoothing.toFixed(3));
    setText(this.sliderValue, state.smoothing === 0 ? '0' : state.smoothing.toFixed(state.smoothing >= 0.99 ? 3 : 2));
    setDisabled(this.reset, !zoomed);
  }
}
