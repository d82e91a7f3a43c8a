// The charts of the panel, in their order.
import { heatChart } from './heat-chart';
import { lineChart } from './line-chart';
import { perplexityChart } from './perplexity-chart';
import type { ChartDefinition } from './picture';
import { text } from './strings';

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
  heatChart,
];
