// Comparing runs: pure functions from what runs are to tables, documents and pictures. Free of Node, so that a webview can use them.
export { arrange, termsOf, type Arrangement, type Sort } from './arrange';
export {
  compareRuns,
  comparisonJson,
  type CompareOptions,
  type Comparison,
  type Field,
  type MetricRow,
} from './comparison';
export { configRows, sameValue, settingsOf, type ConfigRow, type Json } from './config-diff';
export { comparisonCsv, comparisonLatex, comparisonMarkdown, latexText } from './documents';
export { distinctTitles, factsOf, type ComparedRun, type RunFacts } from './facts';
export { isBest, METRICS, type Metric, type Unit } from './metrics';
export { showJson, showNumber } from './show';
export { cellText, comparisonTables, showDelta, type Cell, type TextTable } from './tables';
