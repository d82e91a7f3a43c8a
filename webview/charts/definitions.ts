// The charts of the panel, in their order.
import { heatChart } from './heat-chart';
import { lineChart } from './line-chart';
import { perplexityChart } from './perplexity-chart';
import type { ChartDefinition } from './picture';
import { text } from './strings';
import type { Quantity } from '../shared/format';
import type { TickUnit } from '../shared/series/ticks';

export const CHARTS: readonly ChartDefinition[] = [
  lineChart({
    id: 'loss',
    title: text.loss,
    unit: text.natsPerToken,
    quantity: 'nats',
    tickUnit: 'decimal',
    columns: [{ column: 'loss', label: null, smooth: true }],
    fromZero: false,
    marks: true,
  }),
  lineChart({
    id: 'lossParts',
    title: text.lossParts,
    unit: text.natsPerToken,
    quantity: 'nats',
    tickUnit: 'decimal',
    columns: [
      { column: 'crossEntropy', label: text.crossEntropy, smooth: true },
      { column: 'divergence', label: text.divergence, smooth: true },
    ],
    fromZero: true,
    marks: false,
    optional: true,
  }),
  perplexityChart,
  lineChart({
    id: 'learningRate',
    title: text.learningRate,
    unit: () => '',
    quantity: 'rate',
    tickUnit: 'decimal',
    columns: [
      { column: 'learningRateLowRank', label: text.lowRank, smooth: false },
      { column: 'learningRateScales', label: text.scales, smooth: false },
      { column: 'learningRateZeroPoints', label: text.zeroPoints, smooth: false },
      { column: 'learningRateWeights', label: text.weights, smooth: false },
      { column: 'learningRateNorms', label: text.norms, smooth: false },
      { column: 'learningRateHead', label: text.head, smooth: false },
      { column: 'learningRateEmbeddings', label: text.embeddings, smooth: false },
      { column: 'learningRateActivations', label: text.activations, smooth: false },
    ],
    fromZero: true,
    marks: false,
  }),
  lineChart({
    id: 'gradientNorm',
    title: text.gradientNorm,
    unit: text.gradientNormUnit,
    quantity: 'norm',
    tickUnit: 'decimal',
    columns: [{ column: 'gradientNorm', label: null, smooth: true }],
    fromZero: false,
    marks: false,
  }),
  lineChart({
    id: 'tokensPerSecond',
    title: text.tokensPerSecond,
    unit: text.speedUnit,
    quantity: 'speed',
    tickUnit: 'decimal',
    columns: [{ column: 'tokensPerSecond', label: null, smooth: true }],
    fromZero: false,
    marks: false,
  }),
  lineChart({
    id: 'memory',
    title: text.memory,
    unit: () => '',
    quantity: 'bytes',
    tickUnit: 'bytes',
    columns: [
      { column: 'memoryEngine', label: text.engine, smooth: false },
      { column: 'memoryResident', label: text.resident, smooth: false },
    ],
    fromZero: true,
    marks: false,
  }),
  gpuChart('gpuUtilization', text.gpuUtilization, 'share', 'decimal'),
  gpuChart('gpuWatts', text.gpuPower, 'watts', 'decimal'),
  gpuChart('gpuCelsius', text.gpuTemperature, 'celsius', 'decimal'),
  gpuChart('gpuMemory', text.gpuMemory, 'bytes', 'bytes'),
  heatChart,
];

/** What the driver tells, of all processes on the device. */
function gpuChart(
  id: 'gpuUtilization' | 'gpuWatts' | 'gpuCelsius' | 'gpuMemory',
  title: () => string,
  quantity: Quantity,
  tickUnit: TickUnit,
): ChartDefinition {
  return lineChart({
    ...{ id, title, quantity, tickUnit },
    unit: text.gpuUnit,
    columns: [{ column: id, label: null, smooth: false }],
    fromZero: id !== 'gpuCelsius',
    marks: false,
    optional: true,
  });
}
