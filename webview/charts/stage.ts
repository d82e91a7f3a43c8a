// When what is drawn: at most once a frame, only charts that are in sight and out of date. A frame has a budget, of which the
// averages get a slice and drawing the rest; what does not fit waits for the next frame. The chart under the user's hand is always
// drawn first, so that on a slow machine it is the other charts that lag behind, not the hand.
import { setAttributes } from '../shared/dom';
import { Slices } from '../shared/series/slices';
import type { ChartCard } from './chart-card';
import type { Scene } from './picture';

/** Milliseconds of a frame's 16 for averages, and until when charts begin to be drawn: the browser needs the rest for painting. */
const AVERAGES = 3;
const DRAWING = 4;
/** Charts a frame at most: the browser takes about as long to paint one and hand it over as we take to draw it, and no clock here
 *  shows it. */
const MOST = 3;

export interface StageHost {
  /** What the charts are to show now. Called once a frame in which something is drawn. */
  readonly compose: () => Scene;
  readonly options: (card: ChartCard) => { readonly logY: boolean; readonly tableShown: boolean };
}

export class Stage {
  readonly slices = new Slices();
  private current: Scene | null = null;
  private scheduled = false;
  private outdated = false;
  private readonly inSight = new Set<ChartCard>();
  /** Cards whose picture is older than the scene. */
  private readonly stale = new Set<ChartCard>();
  /** The card that the user moves. */
  private acting: ChartCard | null = null;
  /** The user has moved it since all charts were last drawn. */
  private moving = false;
  private cursor: { readonly card: ChartCard; readonly x: number } | null = null;
  /** Time of the newest step that has arrived and is not drawn yet. */
  private newest: number | null = null;

  constructor(
    /** Carries what was drawn, and how long it took, as attributes. */
    private readonly root: HTMLElement,
    private readonly cards: readonly ChartCard[],
    private readonly host: StageHost,
  ) {
    const observer = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) {
          const card = this.cards.find((each) => each.root === entry.target);
          if (card === undefined) continue;
          if (entry.isIntersecting) this.inSight.add(card);
          else this.inSight.delete(card);
        }
        if (this.toDraw().length > 0) this.schedule();
      },
      // A little ahead of scrolling.
      { rootMargin: '200px' },
    );
    for (const card of cards) observer.observe(card.root);
  }

  /** What was last composed. */
  get scene(): Scene | null {
    return this.current;
  }

  /** Something has changed that these cards must show (all by default). What is around them is brought up to date in any case. */
  invalidate(wanted: (card: ChartCard) => boolean = () => true): void {
    for (const card of this.cards) if (wanted(card)) this.stale.add(card);
    this.outdated = true;
    this.schedule();
  }

  /** A step of this time has come in. */
  arrived(time: number | null): void {
    this.newest = time;
  }

  /** The user zooms or moves this card, and with it all others. */
  act(card: ChartCard): void {
    this.acting = card;
    this.moving = true;
  }

  setCursor(cursor: { readonly card: ChartCard; readonly x: number } | null): void {
    this.cursor = cursor;
    this.schedule();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.frame();
    });
  }

  private frame(): void {
    const started = performance.now();
    this.slices.begin(AVERAGES);
    if (this.slices.proceed()) for (const card of this.cards) if (card.definition.smooths) this.stale.add(card);
    const scene = this.scenery();
    if (scene !== null) this.draw(scene, started + DRAWING);
    const behind = this.toDraw().length > 0;
    // While everything moves the cursor would have to be drawn anew in all charts; it comes back in the first frame at rest.
    const resting = scene === null && !behind;
    if (resting) this.moving = false;
    this.drawCursor();
    if (!behind && this.newest !== null) {
      setAttributes(this.root, { 'data-event-to-frame-ms': Date.now() - this.newest });
      this.newest = null;
    }
    const busy = behind || this.moving || this.slices.pending;
    setAttributes(this.root, { 'data-busy': String(busy), 'data-frame-ms': (performance.now() - started).toFixed(1) });
    if (busy) this.schedule();
  }

  /** The scene, composed anew where it is out of date; null: there is nothing to draw. */
  private scenery(): Scene | null {
    const wanted = this.toDraw();
    // Sizes are read before anything is written, or every card would make the browser lay out the page anew.
    for (const card of wanted) card.measure();
    if (this.outdated) {
      this.outdated = false;
      this.current = this.host.compose();
      setAttributes(this.root, { 'data-x-min': this.current.axis.min, 'data-x-max': this.current.axis.max });
    }
    return wanted.length > 0 ? this.current : null;
  }

  private draw(scene: Scene, end: number): void {
    for (const card of this.toDraw().slice(0, MOST)) {
      card.render(scene, this.host.options(card));
      this.stale.delete(card);
      // At least one a frame.
      if (performance.now() > end) return;
    }
  }

  /** In sight and out of date, the most urgent first: the one that is being moved, then those that have waited longest. Until the
   *  page has told what is in sight, everything is. */
  private toDraw(): ChartCard[] {
    const wanted = [...this.stale].filter((card) => this.inSight.size === 0 || this.inSight.has(card));
    const { acting } = this;
    return acting !== null && wanted.includes(acting) ? [acting, ...wanted.filter((card) => card !== acting)] : wanted;
  }

  private drawCursor(): void {
    const cursor = this.moving ? null : this.cursor;
    for (const card of this.inSight) card.showCursor(cursor?.x ?? null, cursor?.card === card);
  }
}
