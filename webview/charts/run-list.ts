// The runs of the panel: legend and switches at once.
import { element, setAttributes } from '../shared/dom';
import { icon } from '../shared/icons';
import { button, setPressed } from '../shared/toolkit';
import type { ShownRun } from './picture';
import { signCanvas } from './sign';
import { stateName } from '../shared/run-state';
import { text } from './strings';

export interface RunListHost {
  readonly toggle: (run: string) => void;
  readonly focus: (run: string) => void;
  readonly remove: (run: string) => void;
  /** Pointer or keyboard is at a run, or no longer (null). */
  readonly point: (run: string | null) => void;
  readonly add: () => void;
  readonly compare: () => void;
}

export class RunList {
  readonly root = element('div', { class: 'runs', role: 'group', 'aria-label': text.runsLabel() });
  private drawn = '';

  constructor(private readonly host: RunListHost) {}

  /** @param theme anything that changes when colours do. */
  render(runs: readonly ShownRun[], hidden: ReadonlySet<string>, focus: string | null): void {
    const key = JSON.stringify([
      runs.map(({ info, style, colour }) => [info.id, info.name, info.state, style, colour, hidden.has(info.id)]),
      focus,
      window.devicePixelRatio,
    ]);
    if (key === this.drawn) return;
    this.drawn = key;
    const focused = focusedKey(this.root);
    this.root.replaceChildren(
      ...runs.map((run) => this.chip(run, runs.length > 1, hidden.has(run.info.id), run.info.id === focus)),
      button({
        look: 'icon',
        label: text.addRun(),
        text: text.addRun(),
        icon: icon('add'),
        onClick: () => this.host.add(),
      }),
      ...(runs.length > 1
        ? [
            button({
              look: 'icon',
              label: text.compareTitle(),
              text: text.compare(),
              icon: icon('table'),
              onClick: () => this.host.compare(),
            }),
          ]
        : []),
    );
    if (focused !== null) {
      [...this.root.querySelectorAll<HTMLElement>('[data-key]')]
        .find((each) => each.dataset['key'] === focused)
        ?.focus();
    }
  }

  private chip({ info, style, colour }: ShownRun, several: boolean, hidden: boolean, focus: boolean): HTMLElement {
    const sign = signCanvas({ colour, alpha: 1, dash: style.dash, marker: several ? style.marker : null });
    const keyed = (target: HTMLElement, what: string) => {
      setAttributes(target, { 'data-key': `${what} ${info.id}` });
      return target;
    };
    const name = keyed(
      element('button', {
        class: 'run-name',
        type: 'button',
        'aria-pressed': String(focus),
        title: text.focusRun(info.name),
      }),
      'focus',
    );
    name.append(
      sign,
      element('span', { class: 'run-label' }, info.name),
      element('span', { class: 'state small', 'data-state': info.state }, stateName(info.state)),
    );
    name.addEventListener('click', () => this.host.focus(info.id));
    const eye = button({
      look: 'icon',
      label: hidden ? text.showRun(info.name) : text.hideRun(info.name),
      icon: icon(hidden ? 'hidden' : 'eye'),
      onClick: () => this.host.toggle(info.id),
    });
    setPressed(eye, !hidden);
    const remove = button({
      look: 'icon',
      label: text.removeRun(info.name),
      icon: icon('close'),
      onClick: () => this.host.remove(info.id),
    });
    const made = element(
      'span',
      { class: 'run', 'data-hidden': hidden, 'data-focus': focus && several },
      name,
      ...(several ? [keyed(eye, 'eye'), keyed(remove, 'remove')] : []),
    );
    for (const event of ['pointerenter', 'focusin']) made.addEventListener(event, () => this.host.point(info.id));
    for (const event of ['pointerleave', 'focusout']) made.addEventListener(event, () => this.host.point(null));
    return made;
  }
}

function focusedKey(root: HTMLElement): string | null {
  const active = document.activeElement;
  return active instanceof HTMLElement && root.contains(active) ? (active.dataset['key'] ?? null) : null;
}
