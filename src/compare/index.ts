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
export { curveOf, lossPicture, thinnedPoints, type LossCurve } from './loss-picture';
export { isBest, METRICS, type Metric, type Unit } from './metrics';
export {
  COSTS,
  onFront,
  pareto,
  type Cost,
  type CostKey,
  type Pareto,
  type ParetoPoint,
  type PointKind,
  type Reference,
} from './pareto';
export { paretoPicture, type ParetoPicture, type PlacedPoint } from './pareto-picture';
export { htmlPage, type HtmlPage } from './html-page';
export { comparisonReport, type ReportOptions, type ReportRun } from './report';
export { showJson, showNumber } from './show';
export { escapeHtml, svgText, type SvgNode } from './svg';
export { cellText, comparisonTables, showDelta, type Cell, type TextTable } from './tables';
