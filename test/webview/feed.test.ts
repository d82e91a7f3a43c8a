import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { effectiveEvents, type LayersEvent, type MetricsEvent } from '../../src/runs';
import type { GpuReading } from '../../src/runs/events';
import { PIECE, RunFeed } from '../../webview/charts/feed';
import { Data, LAYER_COLUMNS, ROW_COLUMNS, SPARSE_COLUMNS, type RunDelta } from '../../webview/charts/protocol';
import { Columns } from '../../webview/shared/series/columns';
import { randomRun, startEvent, stepEvent } from './events';

/** The panel's side of the deltas, as plainly as it can be written. */
class Receiver {
  readonly rows = new Columns(ROW_COLUMNS, undefined, SPARSE_COLUMNS);
  readonly layers = new Columns(LAYER_COLUMNS);
  names: readonly string[] = [];
  evaluations: NonNullable<RunDelta['evaluations']>['items'][number][] = [];
  checkpoints: NonNullable<RunDelta['checkpoints']>['items'][number][] = [];
  resumes: NonNullable<RunDelta['resumes']>['items'][number][] = [];
  revision = 0;

  apply(deltas: Iterable<RunDelta>): this {
    for (const delta of deltas) {
      Data.check(delta, 'delta');
      if (delta.base === 0) Object.assign(this, new Receiver());
      assert.equal(delta.base, this.revision);
      this.revision = delta.revision;
      if (delta.rows) {
        assert.ok(delta.rows.keep <= this.rows.length);
        this.rows.replace(delta.rows.keep, delta.rows.count, delta.rows.columns);
      }
      if (delta.layers) {
        const { keep, count, columns } = delta.layers.rows;
        assert.ok(keep <= this.layers.length);
        this.layers.replace(keep, count, columns);
        this.names = delta.layers.names;
      }
      for (const part of ['evaluations', 'checkpoints', 'resumes'] as const) {
        const list = delta[part];
        if (list) this[part].splice(list.keep, Infinity, ...(list.items as never[]));
      }
    }
    return this;
  }

  get data() {
    return {
      rows: Object.fromEntries(ROW_COLUMNS.map((name) => [name, [...this.rows.column(name)]])),
      layers: Object.fromEntries(LAYER_COLUMNS.map((name) => [name, [...this.layers.column(name)]])),
      names: this.names,
      evaluations: this.evaluations,
      checkpoints: this.checkpoints,
      resumes: this.resumes,
    };
  }
}

const none = { events: [], layers: [], reset: false };
const never = (feed: RunFeed) => [...feed.delta()].length === 0;

void describe('RunFeed', () => {
  it('keeps what EventLog keeps, over random runs with crashes, resumes and repeated evaluations', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const { events, layers } = randomRun(seed);
      const feed = new RunFeed('run');
      feed.add({ events, layers, reset: false });
      const { data } = new Receiver().apply(feed.snapshot());

      const wanted = effectiveEvents<MetricsEvent>(events);
      const steps = wanted.filter((event) => event.type === 'step');
      assert.deepEqual(
        data.rows['step'],
        steps.map((event) => event.step),
        `seed ${seed}`,
      );
      assert.deepEqual(
        data.rows['loss'],
        steps.map((event) => event.loss ?? NaN),
      );
      assert.deepEqual(
        data.rows['memoryResident'],
        steps.map((event) => event.memory.resident),
      );
      assert.deepEqual(
        data.evaluations.map(({ step, kind, form, perplexity, time }) => ({ step, kind, form, perplexity, time })),
        wanted
          .filter((event) => event.type === 'eval')
          .map(({ step, kind, form, perplexity, time }) => ({ step, kind, form, perplexity, time })),
      );
      assert.deepEqual(
        data.checkpoints.map(({ step }) => step),
        wanted.filter((event) => event.type === 'checkpoint').map(({ step }) => step),
      );
      const wantedLayers = effectiveEvents<LayersEvent>(layers).filter((event) => event.type === 'layer');
      assert.deepEqual(
        data.layers['step'],
        wantedLayers.map((event) => event.step),
      );
      assert.deepEqual(
        data.layers['layer']?.map((index) => data.names[index]),
        wantedLayers.map((event) => event.name),
      );
    }
  });

  it('comes to the same by deltas, whenever they are taken, as by one snapshot', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const { events, layers, random } = randomRun(seed);
      const whole = new RunFeed('run');
      whole.add({ events, layers, reset: false });
      const feed = new RunFeed('run');
      const receiver = new Receiver().apply(feed.snapshot());
      let atEvents = 0;
      let atLayers = 0;
      while (atEvents < events.length || atLayers < layers.length) {
        const toEvents = atEvents + Math.floor(random() * 9);
        const toLayers = atLayers + Math.floor(random() * 9);
        feed.add({ events: events.slice(atEvents, toEvents), layers: layers.slice(atLayers, toLayers), reset: false });
        atEvents = Math.min(toEvents, events.length);
        atLayers = Math.min(toLayers, layers.length);
        if (random() < 0.5) receiver.apply(feed.delta());
      }
      receiver.apply(feed.delta());
      assert.deepEqual(receiver.data, new Receiver().apply(whole.snapshot()).data, `seed ${seed}`);
      assert.ok(never(feed));
    }
  });

  it('never runs back: steps rise, tokens and working time do not fall, whatever was resumed and however clocks jump', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const { events, layers } = randomRun(seed, { wildClock: true });
      const feed = new RunFeed('run');
      feed.add({ events, layers, reset: false });
      const { rows } = new Receiver().apply(feed.snapshot()).data;
      const pairs = (column: string) => (rows[column] ?? []).map((now, at, all) => now - (all[at - 1] ?? 0));
      assert.ok(pairs('step').every((difference) => difference > 0));
      assert.ok(pairs('tokens').every((difference) => difference > 0));
      assert.ok(pairs('elapsed').every((difference) => difference >= 0));
    }
  });

  it('counts working time only: a night between crash and resume is not drawn, nor is the undone work', () => {
    const hour = 3_600_000;
    const feed = new RunFeed('run');
    const events: MetricsEvent[] = [
      startEvent(0),
      { type: 'attempt', attempt: 1, host: 'h', pid: 1, time: 0 },
      stepEvent(1, 1000),
      stepEvent(2, 2000),
      { type: 'checkpoint', step: 2, time: 2500 },
      stepEvent(3, 4000),
      { type: 'attempt', attempt: 2, host: 'h', pid: 2, time: 9 * hour },
      { type: 'resume', fromStep: 2, time: 9 * hour },
      stepEvent(3, 9 * hour + 1000),
    ];
    feed.add({ ...none, events });
    const { rows, resumes, checkpoints } = new Receiver().apply(feed.snapshot()).data;
    assert.deepEqual(rows['step'], [1, 2, 3]);
    assert.deepEqual(rows['elapsed'], [1000, 2000, 3500]);
    assert.deepEqual(rows['time'], [1000, 2000, 9 * hour + 1000]);
    assert.deepEqual(rows['tokens'], [256, 512, 768]);
    assert.equal(checkpoints[0]?.elapsed, 2500);
    assert.deepEqual(resumes, [{ step: 2, elapsed: 2500, tokens: 512, time: 9 * hour }]);
  });

  it('takes a step that comes again without its resume line as a resume', () => {
    const feed = new RunFeed('run');
    feed.add({ ...none, events: [startEvent(0), stepEvent(1, 1), stepEvent(2, 2), stepEvent(3, 3), stepEvent(2, 4)] });
    assert.deepEqual(new Receiver().apply(feed.snapshot()).data.rows['step'], [1, 2]);
  });

  it('sends a long run in pieces, each of which builds on the one before', () => {
    const feed = new RunFeed('run');
    const steps = 2.5 * PIECE;
    for (let first = 1; first <= steps; first += PIECE / 2) {
      feed.add({ ...none, events: Array.from({ length: PIECE / 2 }, (_, at) => stepEvent(first + at, first + at)) });
    }
    const pieces = [...feed.snapshot()];
    assert.deepEqual(
      pieces.map((piece) => piece.rows?.count),
      [PIECE, PIECE, PIECE / 2],
    );
    assert.deepEqual(
      pieces.map((piece) => piece.base),
      [0, 1, 2],
    );
    assert.equal(new Receiver().apply(pieces).rows.length, steps);
    feed.add({ ...none, events: [stepEvent(steps + 1, steps)] });
    const [delta, ...more] = feed.delta();
    assert.equal(more.length, 0);
    assert.deepEqual([delta?.rows?.keep, delta?.rows?.count], [steps, 1]);
  });

  it('holds a reading of the GPU until the next, and sends columns of it only where there is one', () => {
    const feed = new RunFeed('run');
    const gpu = { utilization: 0.9, watts: 410, celsius: 61, memoryUsed: 2 ** 33 };
    feed.add({ ...none, events: [startEvent(0), stepEvent(1, 100)] });
    const [first] = feed.snapshot();
    assert.ok(!('gpuWatts' in first!.rows!.columns), 'none of a run on the processor');
    const receiver = new Receiver().apply(feed.snapshot());
    const times = [1000, 1500, 2000, 60_000, 60_100];
    const readings = new Map<number, GpuReading>([
      [1000, gpu],
      [2000, { ...gpu, watts: 420, utilization: null }],
    ]);
    feed.add({
      ...none,
      events: times.map((time, at): MetricsEvent => {
        const reading = readings.get(time);
        return { ...stepEvent(at + 2, time), ...(reading === undefined ? {} : { gpu: reading }) };
      }),
    });
    const { rows } = receiver.apply(feed.delta()).data;
    assert.deepEqual(rows['gpuWatts'], [NaN, 410, 410, 420, NaN, NaN]);
    assert.deepEqual(rows['gpuUtilization'], [NaN, 0.9, 0.9, NaN, NaN, NaN]);
    assert.deepEqual(rows['gpuMemory'], [NaN, 2 ** 33, 2 ** 33, 2 ** 33, NaN, NaN]);
  });

  it('sends the parts of the loss only of a run with distillation', () => {
    const feed = new RunFeed('run');
    feed.add({ ...none, events: [startEvent(0), stepEvent(1, 100)] });
    const [first] = feed.snapshot();
    assert.ok(!('divergence' in first!.rows!.columns));
    const receiver = new Receiver().apply(feed.snapshot());
    feed.add({ ...none, events: [{ ...stepEvent(2, 200), crossEntropy: 3, divergence: 0.5 }] });
    const { rows } = receiver.apply(feed.delta()).data;
    assert.deepEqual(rows['crossEntropy'], [NaN, 3]);
    assert.deepEqual(rows['divergence'], [NaN, 0.5]);
  });

  it('sends the learning rates of what a run trains beside factors and scales', () => {
    const feed = new RunFeed('run');
    const learningRate = { lowRank: 1e-3, scales: 1e-5, weights: 2e-5, norms: 3e-5, activations: 4e-5 };
    feed.add({ ...none, events: [startEvent(0), { ...stepEvent(1, 100), learningRate }] });
    const [first] = feed.snapshot();
    assert.ok(!('learningRateHead' in first!.rows!.columns));
    const { rows } = new Receiver().apply(feed.snapshot()).data;
    assert.deepEqual([rows['learningRateWeights'], rows['learningRateNorms']], [[2e-5], [3e-5]]);
    assert.deepEqual(rows['learningRateActivations'], [4e-5]);
  });

  it('starts again when a file was replaced', () => {
    const feed = new RunFeed('run');
    feed.add({ ...none, events: [startEvent(0), stepEvent(1, 1), stepEvent(2, 2)] });
    const receiver = new Receiver().apply(feed.snapshot());
    feed.add({ events: [startEvent(5), stepEvent(1, 6)], layers: [], reset: true });
    receiver.apply(feed.delta());
    assert.deepEqual(receiver.data.rows['time'], [6]);
  });

  it('takes lines with missing or wrong fields: what is no number is unknown', () => {
    const feed = new RunFeed('run');
    const broken = [
      { type: 'step', step: 1 },
      { type: 'step', step: 2, loss: 'high', learningRate: null, memory: {}, tokens: null, time: 'now' },
      { type: 'eval', step: 2, form: 'guess', kind: 'validation' },
      { type: 'eval', step: 2, form: 'trained', kind: 'validation', perplexity: '12' },
    ] as unknown as MetricsEvent[];
    feed.add({ ...none, events: broken, layers: [{ type: 'layer', step: 2 }] as unknown as LayersEvent[] });
    const { rows, evaluations, layers } = new Receiver().apply(feed.snapshot()).data;
    assert.deepEqual(rows['loss'], [NaN, NaN]);
    assert.deepEqual(rows['learningRateLowRank'], [NaN, NaN]);
    assert.equal(evaluations.length, 1);
    assert.equal(evaluations[0]?.perplexity, null);
    assert.deepEqual(layers['step'], []);
  });
});
