// Comparing runs: pure functions from what runs are to tables.
export {
  compareRuns,
  comparisonCsv,
  comparisonJson,
  comparisonMarkdown,
  comparisonTables,
  type Comparison,
  type TextTable,
} from './comparison';
export { configDifferences, type ConfigDifference, type Json } from './config-diff';
export { metricRows, type ComparedRun, type MetricRow, type Unit } from './metrics';
export { showJson, showNumber } from './show';
