// Perplexity of the evaluations: the trained weights as they improve, between round-to-nearest and float.
import { reading, tickLabel } from '../shared/format';
import { Y_AXIS_WIDTH } from '../shared/plot';
import { roomyAxis, union, type Axis, type Range } from '../shared/series/axis';
import { ticks } from '../shared/series/ticks';
import type { Thinned } from '../shared/series/thin';
import { strokeLine, strokeReference } from '../shared/strokes';
import { drawMarks } from './marks';
import { evenly, pointedLast, presence, TABLE_ROWS } from './picture';
import type {
  CardOptions,
  ChartDefinition,
  Picture,
  Readout,
  ReadoutRow,
  Scene,
  ShownRun,
  Sign,
  TableData,
} from './picture';
import type { Evaluation } from './protocol';
import { evaluationsCsv } from './series/csv';
import { positionOf } from './series/run-data';
import { text } from './strings';
import { placeHeading } from './x-axis';

export const perplexityChart: ChartDefinition = {
  id: 'perplexity',
  title: text.perplexity,
  unit: (scene) => kindOf(scene) ?? '',
  canLog: true,
  isThere: () => true,
  axisWidth: Y_AXIS_WIDTH,
  wide: false,
  smooths: false,
  height: () => 200,
  picture,
};

/** Kinds of evaluation that the shown runs have, in order of appearance. */
export function evaluationKinds(runs: readonly ShownRun[]): string[] {
  return [...new Set(runs.flatMap((run) => run.data.evaluations.map((each) => each.kind)))];
}

function kindOf(scene: Scene): string | null {
  const kinds = evaluationKinds(scene.focus === null ? scene.runs : [scene.focus, ...scene.runs]);
  return scene.kind !== null && kinds.includes(scene.kind) ? scene.kind : (kinds[0] ?? null);
}

interface Curve {
  readonly run: ShownRun;
  /** Trained and merged, in order of x. */
  readonly evaluations: readonly (Evaluation & { readonly perplexity: number })[];
  readonly sign: Sign;
}

interface References {
  readonly float: number | null;
  readonly rounded: number | null;
}

/** Last measured values of the weights before training. */
function referencesOf(run: ShownRun | null, kind: string | null): References {
  const last = (form: Evaluation['form']) =>
    run?.data.evaluations.findLast((each) => each.form === form && each.kind === kind)?.perplexity ?? null;
  return { float: last('float'), rounded: last('round-to-nearest') };
}

function picture(scene: Scene, options: CardOptions): Picture {
  const kind = kindOf(scene);
  const curves = scene.runs.map((run): Curve => curveOf(run, kind, scene));
  const known = curves.some(({ run }) => run.data.evaluations.some((each) => each.kind === kind));
  const hidden = scene.runs.length === 0 && scene.focus !== null;
  const references = referencesOf(scene.focus, kind);
  const all = scene.runs.map((run) => referencesOf(run, kind));
  // Runs of one model and one storage share them; else it must be said whose they are.
  const differ = all.some(({ float, rounded }) => float !== references.float || rounded !== references.rounded);
  const owner = differ && scene.focus !== null ? scene.focus : null;
  const { axis } = scene;
  const visible = curves.map((curve) => curve.evaluations.filter((each) => inRange(positionOf(each, scene.x), axis)));
  const y = yAxis(
    visible.flat().map((each) => each.perplexity),
    // Of all runs, so that nothing moves away from the pointer when another run is pointed at.
    [references, ...all].flatMap(({ float, rounded }) => [float, rounded]),
    options,
  );
  const drawn = visible.reduce((sum, each) => sum + each.length, 0);
  const font = `${String(scene.theme.fontSize)}px ${scene.theme.font}`;
  return {
    y: { axis: y, ticks: ticks(y, 6, 'decimal'), label: (value) => tickLabel(value, 'perplexity') },
    draw: (context, area) => {
      // The names of the references stand where its word would.
      drawMarks(context, area, scene, { checkpoints: false, named: false });
      const reference = (value: number | null, label: string, dash: readonly number[]) => {
        if (value === null) return;
        const named = `${owner === null ? '' : `${owner.info.name} · `}${label} ${reading(value, 'perplexity')}`;
        const colour = owner?.colour ?? scene.theme.muted;
        strokeReference(context, area, value, { colour, dash, label: named, font, background: scene.theme.background });
      };
      for (const curve of pointedLast(curves, ({ run }) => run, scene)) {
        strokeLine(context, area, {
          points: pointsOf(curve, scene),
          colour: curve.sign.colour,
          alpha: presence(scene, curve.run),
          width: 1.75,
          dash: curve.sign.dash,
          markers: 'each',
          marker: curve.sign.marker ?? 'circle',
        });
      }
      // Above the curves, which may lie behind their names.
      reference(references.rounded, text.roundToNearest(), [6, 4]);
      reference(references.float, text.float(), [1, 3]);
    },
    legend: [],
    scale: null,
    notes: [],
    empty: known ? null : hidden ? text.allHidden() : text.waitForEvaluation(),
    points: drawn,
    drawn,
    latest: latestOf(scene, kind),
    lastStep: scene.focus?.data.evaluations.at(-1)?.step ?? 0,
    readout: (x) => readoutAt(scene, curves, references, owner, x),
    neighbour: (x, direction) => {
      const places = [...new Set(visible.flat().map((each) => positionOf(each, scene.x)))].sort((a, b) => a - b);
      if (x === null) return places.at(direction > 0 ? 0 : -1) ?? null;
      const next = direction > 0 ? places.find((each) => each > x) : places.findLast((each) => each < x);
      return next ?? places.at(direction > 0 ? -1 : 0) ?? null;
    },
    table: () => tableOf(scene, kind),
    csv: () => evaluationsCsv(scene.runs.map((run) => ({ name: run.info.name, data: run.data }))),
  };
}

/** The others are measured before there is anything trained. */
function isOfTraining({ form }: Evaluation): boolean {
  return form === 'trained' || form === 'merged';
}

function curveOf(run: ShownRun, kind: string | null, scene: Scene): Curve {
  return {
    run,
    evaluations: run.data.evaluations
      .filter((each) => each.kind === kind && isOfTraining(each))
      .filter((each): each is Evaluation & { perplexity: number } => each.perplexity !== null),
    sign: {
      colour: run.colour,
      alpha: 1,
      dash: run.style.dash,
      marker: scene.several ? run.style.marker : 'circle',
    },
  };
}

function pointsOf(curve: Curve, scene: Scene): Thinned {
  return {
    x: Float64Array.from(curve.evaluations, (each) => positionOf(each, scene.x)),
    y: Float64Array.from(curve.evaluations, (each) => each.perplexity),
    length: curve.evaluations.length,
  };
}

/** References belong to the picture unless they are so far off that they would press the curve flat (rounding to two bits can
 *  multiply the perplexity); they then show as an arrow at the edge. */
function yAxis(values: readonly number[], references: readonly (number | null)[], { logY, y }: CardOptions): Axis {
  const kind = logY ? 'log' : 'linear';
  if (y !== null && (!logY || y.min > 0)) return { kind, ...y };
  const of = (value: number): Range => ({ min: value, max: value });
  const own = union(values.map(of));
  const near = references
    .filter((value) => value !== null)
    .filter((value) => logY || own === null || (value <= own.max * 3 && value >= own.min / 3));
  return roomyAxis(kind, union([own, ...near.map(of)]), 0.12);
}

function inRange(value: number, range: Range): boolean {
  return value >= range.min && value <= range.max;
}

function latestOf({ focus }: Scene, kind: string | null): string | null {
  const last = focus?.data.evaluations.findLast((each) => each.kind === kind && isOfTraining(each));
  return last === undefined ? null : reading(last.perplexity ?? NaN, 'perplexity');
}

function readoutAt(
  scene: Scene,
  curves: readonly Curve[],
  references: References,
  owner: ShownRun | null,
  x: number,
): Readout | null {
  const rows: ReadoutRow[] = [];
  let nearest: Evaluation | null = null;
  const distance = (each: Evaluation) => Math.abs(positionOf(each, scene.x) - x);
  for (const { run, evaluations, sign } of curves) {
    const [closest] = [...evaluations].sort((a, b) => distance(a) - distance(b));
    if (closest === undefined) continue;
    if (nearest === null || distance(closest) < distance(nearest)) nearest = closest;
    const form = closest.form === 'merged' ? text.merged() : text.trained();
    rows.push({
      run,
      sign,
      label: scene.several ? `${run.info.name} · ${form}` : form,
      value: reading(closest.perplexity, 'perplexity'),
      at: { x: positionOf(closest, scene.x), y: closest.perplexity },
    });
  }
  const reference = (label: string, value: number | null, dash: readonly number[]) => {
    if (value === null) return;
    const sign: Sign = { colour: owner?.colour ?? scene.theme.muted, alpha: 1, dash, marker: null };
    const named = owner === null ? label : `${owner.info.name} · ${label}`;
    rows.push({ run: null, sign, label: named, value: reading(value, 'perplexity'), at: null });
  };
  reference(text.roundToNearest(), references.rounded, [6, 4]);
  reference(text.float(), references.float, [1, 3]);
  if (nearest === null) return null;
  return { x: positionOf(nearest, scene.x), heading: placeHeading(nearest), rows };
}

function tableOf(scene: Scene, kind: string | null): TableData {
  const all = scene.runs.flatMap((run) =>
    run.data.evaluations.filter((each) => each.kind === kind).map((evaluation) => ({ run, evaluation })),
  );
  return {
    columns: [
      ...(scene.several ? [{ label: text.tableRun(), numeric: false }] : []),
      { label: text.tableKind(), numeric: false },
      { label: text.tableStep(), numeric: true },
      { label: text.tableTokens(), numeric: true },
      { label: text.perplexity(), numeric: true },
    ],
    rows: evenly(all.length, TABLE_ROWS).flatMap((at) => {
      const row = all[at];
      if (row === undefined) return [];
      const { run, evaluation } = row;
      return [
        [
          ...(scene.several ? [run.info.name] : []),
          formName(evaluation.form),
          reading(evaluation.step, 'step'),
          reading(evaluation.tokens, 'tokens'),
          reading(evaluation.perplexity ?? NaN, 'perplexity'),
        ],
      ];
    }),
    total: all.length,
  };
}

function formName(form: Evaluation['form']): string {
  switch (form) {
    case 'float':
      return text.float();
    case 'round-to-nearest':
      return text.roundToNearest();
    case 'trained':
      return text.trained();
    case 'merged':
      return text.merged();
  }
}
