// One sentence about something that has no other place in the panel.
import { element, setAttributes } from '../shared/dom';
import { icon } from '../shared/icons';

/** Milliseconds that good news stays. Bad news stays until the next notice. */
const STAY = 6_000;

export class NoticeBar {
  readonly root = element('div', { class: 'notice', role: 'status', hidden: true });
  private timer: ReturnType<typeof setTimeout> | undefined;

  show(severity: 'information' | 'warning' | 'error', message: string): void {
    this.root.hidden = false;
    setAttributes(this.root, { 'data-severity': severity });
    this.root.replaceChildren(icon(severity), element('span', {}, message));
    clearTimeout(this.timer);
    if (severity === 'information') this.timer = setTimeout(() => (this.root.hidden = true), STAY);
  }
}
