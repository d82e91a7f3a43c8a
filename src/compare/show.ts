// Numbers with their units, the same everywhere.
import { formatBytes, formatCount, formatSeconds } from '../experiment/format-numbers';
import type { Json } from './config-diff';
import type { Unit } from './metrics';

/** A dash stands for what is not known. */
export function showNumber(value: number | null | undefined, unit: Unit): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  switch (unit) {
    case 'perplexity':
      return showPerplexity(value);
    case 'nats':
      return value.toFixed(4);
    case 'bits':
      return value.toFixed(2);
    case 'bytes':
      return formatBytes(value);
    case 'share':
      return `${(value * 100).toFixed(1)} %`;
    case 'tokens/s':
      return `${formatCount(value)} tok/s`;
    case 'seconds':
      return formatSeconds(value);
    case 'steps':
      return String(value);
  }
}

/** Three decimals say what evaluation noise leaves; very large ones (a model that rounding has broken) get fewer. */
function showPerplexity(value: number): string {
  if (value >= 1e6) return value.toExponential(2);
  if (value >= 1000) return value.toFixed(0);
  return value.toFixed(value >= 100 ? 1 : 3);
}

/** A value of an experiment file in a table cell. */
export function showJson(value: Json | undefined): string {
  if (value === undefined) return '–';
  return typeof value === 'string' ? value : JSON.stringify(value);
}
