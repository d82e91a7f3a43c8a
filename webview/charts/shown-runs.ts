// The runs of the panel and what is known of each.
import { runStyle } from '../shared/series/run-style';
import type { Slices } from '../shared/series/slices';
import { shaded, type Theme } from '../shared/theme';
import type { ShownRun } from './picture';
import type { RunDelta, RunInfo } from './protocol';
import { RunData } from './series/run-data';

export class ShownRuns {
  /** @param slices where the runs' averages are computed. */
  constructor(private readonly slices: Slices) {}

  private infos: readonly RunInfo[] = [];
  private readonly data = new Map<string, RunData>();
  /** Place of each run in the cycle of styles: its own for as long as it is in the panel. */
  private readonly places = new Map<string, number>();
  /** Runs whose snapshot was asked for and has not come. */
  private readonly awaited = new Set<string>();

  get ids(): string[] {
    return this.infos.map((info) => info.id);
  }

  /** The run of the header: the one that the user has picked, or the first. */
  focus(picked: string | null): { readonly info: RunInfo; readonly data: RunData | null } | null {
    const info = this.infos.find((each) => each.id === picked) ?? this.infos[0];
    return info === undefined ? null : { info, data: this.data.get(info.id) ?? null };
  }

  /** Takes the host's list; what is not in it is forgotten. */
  take(infos: readonly RunInfo[]): void {
    this.infos = infos;
    const ids = new Set(this.ids);
    for (const id of [...this.places.keys()].filter((each) => !ids.has(each))) {
      this.places.delete(id);
      this.data.get(id)?.dispose();
      this.data.delete(id);
      this.awaited.delete(id);
    }
    for (const id of ids) {
      if (!this.places.has(id)) this.places.set(id, firstFree(new Set(this.places.values())));
    }
  }

  /** Returns the run's data with the delta in it, or what must be done because it does not fit: ask for a snapshot, or wait for
   *  the one that was asked for. */
  apply(delta: RunDelta): RunData | 'ask' | 'wait' {
    const { run } = delta;
    const data = this.data.get(run) ?? new RunData(this.slices);
    this.data.set(run, data);
    if (delta.base === 0) this.awaited.delete(run);
    if (data.apply(delta)) return data;
    // Deltas that were under way when the snapshot was asked for do not fit either; asking once is enough.
    if (this.awaited.has(run)) return 'wait';
    this.awaited.add(run);
    return 'ask';
  }

  /** In the host's order, in the theme's colours. */
  styled(theme: Theme): ShownRun[] {
    return this.infos.map((info) => {
      const style = runStyle(this.places.get(info.id) ?? 0);
      return {
        info,
        data: this.data.get(info.id) ?? new RunData(this.slices),
        style,
        colour: shaded(theme, style.colour, style.shade),
      };
    });
  }
}

function firstFree(taken: ReadonlySet<number>): number {
  let place = 0;
  while (taken.has(place)) place++;
  return place;
}
