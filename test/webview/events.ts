// Event streams for tests: not what a training would write, but every order that trainers may.
import type { LayersEvent, MetricsEvent, StartEvent, StepEvent } from '../../src/runs';

export const startEvent = (time: number): StartEvent => ({
  type: 'start',
  schema: 1,
  time,
  run: 'run',
  totalSteps: 100,
});

export const stepEvent = (step: number, time: number, loss: number | null = 4 / (1 + step / 50)): StepEvent => ({
  type: 'step',
  step,
  loss,
  learningRate: { lowRank: 1e-4, scales: 1e-5 },
  gradientNorm: 1 / step,
  tokens: 256,
  tokensPerSecond: 1000,
  memory: { engine: 2 ** 30, resident: 2 ** 31 },
  time,
});

/** mulberry32 */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** A run that is evaluated, checkpointed, crashes and is resumed at random. */
export function randomRun(
  seed: number,
  { wildClock = false } = {},
): { events: MetricsEvent[]; layers: LayersEvent[]; random: () => number } {
  const random = randomNumbers(seed);
  const events: MetricsEvent[] = [startEvent(1000)];
  const layers: LayersEvent[] = [];
  let time = 1000;
  const tick = () => (time += wildClock ? Math.round((random() - 0.3) * 1000) : Math.round(random() * 1000));
  let step = 0;
  let checkpoint = 0;
  let attempt = 1;
  events.push({ type: 'attempt', attempt, host: 'host', pid: 7, time: tick() });
  const measure = () => {
    events.push({
      type: 'eval',
      step,
      kind: 'validation',
      form: step === 0 ? 'float' : 'trained',
      perplexity: random() < 0.05 ? null : 10 + random(),
      loss: 2,
      tokens: 100,
      time: tick(),
    });
    for (const name of ['q_proj', 'k_proj', 'down_proj']) {
      layers.push({ type: 'layer', step, name, clippedShare: random(), flipped: 3, weights: 10, scaleDrift: random() });
    }
  };
  measure();
  for (let move = 0; move < 80; move++) {
    const what = random();
    if (what < 0.75) events.push(stepEvent(++step, tick(), random() < 0.1 ? null : random()));
    else if (what < 0.85) measure();
    else if (what < 0.93) events.push({ type: 'checkpoint', step: (checkpoint = step), time: tick() });
    else {
      if (random() < 0.3) events.push({ type: 'end', state: 'stopped', time: tick() });
      step = checkpoint;
      time += 10_000;
      events.push({ type: 'attempt', attempt: ++attempt, host: 'host', pid: 8, time: tick() });
      events.push({ type: 'resume', fromStep: step, time: tick() });
      layers.push({ type: 'resume', fromStep: step, time });
      // Some trainers evaluate once more what they had evaluated before.
      if (random() < 0.5) measure();
    }
  }
  return { events, layers, random };
}
