// When what is drawn: at most once a frame, only charts that are in sight and out of date, and the averages in slices beside.
import { setAttributes } from '../shared/dom';
import { FRAME_SHARE, Slices } from '../shared/series/slices';
import type { ChartCard } from './chart-card';
import type { Scene } from './picture';

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

  /** Something has changed that these cards must show. What is around them is brought up to date in any case. */
  invalidate(wanted: (card: ChartCard) => boolean = () => true): void {
    for (const card of this.cards) if (wanted(card)) this.stale.add(card);
    this.outdated = true;
    this.schedule();
  }

  /** A step of this time has come in. */
  arrived(time: number | null): void {
    this.newest = time;
  }

  setCursor(cursor: { readonly card: ChartCard; readonly x: number } | null): void {
    this.cursor = cursor;
    this.drawCursor();
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
    this.slices.begin(FRAME_SHARE);
    if (this.slices.proceed()) for (const card of this.cards) if (card.definition.smooths) this.stale.add(card);
    if (this.outdated || this.toDraw().length > 0) this.draw(started);
    const busy = this.slices.pending;
    setAttributes(this.root, { 'data-busy': String(busy) });
    if (busy) this.schedule();
  }

  private draw(started: number): void {
    // Read before anything is written, or every card would make the browser lay out the page anew.
    for (const card of this.toDraw()) card.measure();
    this.outdated = false;
    const scene = this.host.compose();
    this.current = scene;
    for (const card of this.toDraw()) {
      card.render(scene, this.host.options(card));
      this.stale.delete(card);
    }
    this.drawCursor();
    const delay = this.newest === null ? null : Date.now() - this.newest;
    this.newest = null;
    setAttributes(this.root, {
      'data-x-min': scene.axis.min,
      'data-x-max': scene.axis.max,
      'data-frame-ms': (performance.now() - started).toFixed(1),
      ...(delay === null ? {} : { 'data-event-to-frame-ms': delay }),
    });
  }

  /** Until the page has told what is in sight, everything is. */
  private toDraw(): ChartCard[] {
    return [...this.stale].filter((card) => this.inSight.size === 0 || this.inSight.has(card));
  }

  private drawCursor(): void {
    for (const card of this.inSight) card.showCursor(this.cursor?.x ?? null, this.cursor?.card === card);
  }
}
