// A slider over given stops. It tells every movement at once and the choice when it is let go: by the pointer, or when the key
// that moved it comes up, so that a held arrow is one choice.
import { element, setAttributes } from '../shared/dom';

interface SliderOptions {
  readonly onMove: (index: number) => void;
  readonly onRelease: (index: number) => void;
  /** Let go where it was taken up. */
  readonly onCancel: () => void;
  /** What a screen reader says for a stop. */
  readonly textOf: (index: number) => string;
}

export class Slider {
  readonly root: HTMLInputElement;
  private keyIsDown = false;
  /** Stop that was shown last, and the one that is not told yet. */
  private shown = 0;
  private open = false;

  constructor(label: string, options: SliderOptions) {
    this.root = element('input', { type: 'range', class: 'slider', min: 0, step: 1, 'aria-label': label });
    const { root } = this;
    const release = (): void => {
      if (!this.open) return;
      this.open = false;
      if (root.valueAsNumber === this.shown) options.onCancel();
      else options.onRelease(root.valueAsNumber);
    };
    root.addEventListener('input', () => {
      this.open = true;
      setAttributes(root, { 'aria-valuetext': options.textOf(root.valueAsNumber) });
      options.onMove(root.valueAsNumber);
    });
    root.addEventListener('change', () => {
      if (!this.keyIsDown) release();
    });
    root.addEventListener('keydown', () => (this.keyIsDown = true));
    root.addEventListener('keyup', () => {
      this.keyIsDown = false;
      release();
    });
    root.addEventListener('blur', () => {
      this.keyIsDown = false;
      release();
    });
    this.say = () => setAttributes(root, { 'aria-valuetext': options.textOf(root.valueAsNumber) });
  }

  private readonly say: () => void;

  show(index: number, stops: number, disabled: boolean): void {
    // Not from under the hand that moves it.
    if (this.open) return;
    setAttributes(this.root, { max: Math.max(1, stops - 1), disabled });
    this.shown = index;
    this.root.valueAsNumber = index;
    this.say();
  }
}
