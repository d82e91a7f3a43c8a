// Typed access to the keys of a config.json that collects everything wrong with it, so that the user sees all of it at once.

import { isObject, showValue } from './show-value';

type Json = Readonly<Record<string, unknown>>;

interface Findings {
  readonly problems: string[];
  readonly warnings: string[];
}

export class ConfigReader {
  private readonly read = new Set<string>();

  /** @param prefix of key names in messages, for nested objects (`rope_scaling.`) */
  constructor(
    private readonly config: Json,
    private readonly prefix = '',
    private readonly findings: Findings = { problems: [], warnings: [] },
  ) {}

  get problems(): readonly string[] {
    return this.findings.problems;
  }

  get warnings(): readonly string[] {
    return this.findings.warnings;
  }

  /** A reader of a nested object that adds to this one's problems and warnings; null where the key is absent or null. */
  object(key: string): ConfigReader | null {
    const value = this.value(key);
    if (value === undefined) return null;
    if (isObject(value)) return new ConfigReader(value, `${this.prefix}${key}.`, this.findings);
    this.problem(key, 'must be an object or null');
    return null;
  }

  /** The raw value; null counts as absent, as it does for transformers. Marks the key as read. */
  value(key: string): unknown {
    this.read.add(key);
    const value = Object.hasOwn(this.config, key) ? this.config[key] : undefined;
    return value === null ? undefined : value;
  }

  has(key: string): boolean {
    return this.value(key) !== undefined;
  }

  /** Present and null, which for some keys means something else than absent. */
  isNull(key: string): boolean {
    this.read.add(key);
    return Object.hasOwn(this.config, key) && this.config[key] === null;
  }

  /** A positive integer up to `max`. Without `fallback` the key is required. A wrong value is reported and read as 1. */
  count(key: string, max: number, fallback?: number): number {
    const value = this.value(key) ?? fallback;
    if (value === undefined) {
      this.findings.problems.push(`${this.prefix}${key} is missing`);
      return 1;
    }
    if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= max) return value;
    this.problem(key, `must be a whole number from 1 to ${String(max)}`);
    return 1;
  }

  /** A finite number above 0. */
  positive(key: string, fallback?: number): number {
    const value = this.value(key) ?? fallback;
    if (value === undefined) {
      this.findings.problems.push(`${this.prefix}${key} is missing`);
      return 1;
    }
    if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
    this.problem(key, 'must be a number above 0');
    return 1;
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.value(key) ?? fallback;
    if (typeof value === 'boolean') return value;
    this.problem(key, 'must be true or false');
    return fallback;
  }

  string(key: string): string | null {
    const value = this.value(key);
    if (value === undefined) return null;
    if (typeof value === 'string') return value;
    this.problem(key, 'must be a string');
    return null;
  }

  /** Reports a key with its value. */
  problem(key: string, what: string): void {
    this.findings.problems.push(`${this.prefix}${key} is ${showValue(this.config[key])}: ${what}`);
  }

  warn(key: string, what: string): void {
    this.findings.warnings.push(`${this.prefix}${key} is ${showValue(this.config[key])}: ${what}`);
  }

  /** Keys that nobody has asked for. */
  unread(): string[] {
    return Object.keys(this.config).filter((key) => !this.read.has(key));
  }
}
