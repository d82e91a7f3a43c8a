// Numbers as panels show them, beside the ones of src/experiment/format-numbers (bytes, counts, seconds).
import { formatBytes, formatCount, formatSeconds } from '../../src/experiment/format-numbers';

export type Quantity =
  | 'nats'
  | 'perplexity'
  | 'rate'
  | 'norm'
  | 'speed'
  | 'bytes'
  | 'share'
  | 'watts'
  | 'celsius'
  | 'step'
  | 'tokens'
  | 'time';

/** Made once: making one costs more than a frame has time for. */
const WHOLE = new Intl.NumberFormat('en-US');

/** With its unit, for a reading of one value. A dash stands for what is not known. `time` is in milliseconds. */
export function reading(value: number, quantity: Quantity): string {
  if (!Number.isFinite(value)) return '–';
  switch (quantity) {
    case 'nats':
      return value.toFixed(4);
    case 'perplexity':
      if (value >= 1e6) return value.toExponential(2);
      return value.toFixed(value >= 1000 ? 0 : value >= 100 ? 1 : 3);
    case 'rate':
      return value === 0 ? '0' : value.toExponential(2);
    case 'norm':
      return value === 0 || (value >= 1e-3 && value < 1e4) ? value.toPrecision(4) : value.toExponential(2);
    case 'speed':
      return `${formatCount(value)} tok/s`;
    case 'bytes':
      return formatBytes(value);
    case 'share':
      return percentage(value);
    case 'watts':
      return `${value.toFixed(0)} W`;
    case 'celsius':
      return `${value.toFixed(0)} °C`;
    case 'step':
      return WHOLE.format(value);
    case 'tokens':
      return formatCount(value);
    case 'time':
      return duration(value);
  }
}

/** Short, for the marks of an axis. */
export function tickLabel(value: number, quantity: Quantity): string {
  if (value === 0) return '0';
  switch (quantity) {
    case 'rate':
      return value.toExponential().replace('e+', 'e');
    case 'speed':
    case 'tokens':
      return formatCount(value).replace(/\.0+ /, ' ');
    case 'bytes':
      return formatBytes(value).replace(/\.0+ /, ' ');
    case 'share':
      return percentage(value);
    case 'time':
      return duration(value).replace(/\.0+ /, ' ');
    case 'watts':
    case 'celsius':
      return reading(value, quantity);
    case 'step':
    case 'nats':
    case 'perplexity':
    case 'norm': {
      const size = Math.abs(value);
      if (size >= 1e6 || size < 1e-4) return value.toExponential(1).replace('.0e', 'e').replace('e+', 'e');
      return size >= 1e4 ? formatCount(value).replace(/\.0+ /, ' ') : String(Number(value.toPrecision(6)));
    }
  }
}

function percentage(value: number): string {
  const hundredths = value * 100;
  const digits = hundredths === 0 || hundredths >= 10 ? 1 : hundredths >= 1 ? 2 : 3;
  return `${String(Number(hundredths.toFixed(digits)))} %`;
}

function duration(milliseconds: number): string {
  if (milliseconds < 1) return '0 s';
  return milliseconds < 1000 ? `${String(Math.round(milliseconds))} ms` : formatSeconds(milliseconds / 1000);
}
