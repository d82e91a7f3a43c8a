// Checks of what comes over a message channel or out of stored state: both ends are our own code, but a message is an external
// byte like any other (another version of the extension may have stored it). A check returns its argument, typed, or throws.

/** @throws CheckError when `value` is not a T. `at` names the place for the message. */
export type Check<T> = (value: unknown, at: string) => T;

/** The type a check stands for. */
export type Checked<C> = C extends Check<infer T> ? T : never;

export class CheckError extends Error {
  override readonly name = 'CheckError';
}

function mismatch(at: string, wanted: string, value: unknown): CheckError {
  const got = value === null ? 'null' : Array.isArray(value) ? 'an array' : typeof value;
  return new CheckError(`${at}: expected ${wanted}, got ${got === 'number' ? String(value) : got}`);
}

export const string: Check<string> = (value, at) => {
  if (typeof value !== 'string') throw mismatch(at, 'a string', value);
  return value;
};

export const boolean: Check<boolean> = (value, at) => {
  if (typeof value !== 'boolean') throw mismatch(at, 'true or false', value);
  return value;
};

/** Finite. */
export const number: Check<number> = (value, at) => {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw mismatch(at, 'a finite number', value);
  return value;
};

/** A count, an index or a step: whole and not negative. */
export const count: Check<number> = (value, at) => {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw mismatch(at, 'a whole number of 0 or more', value);
  }
  return value;
};

export const buffer: Check<ArrayBuffer> = (value, at) => {
  // By tag, not by instanceof: the buffer may come from another realm (a frame, a test's context).
  if (Object.prototype.toString.call(value) !== '[object ArrayBuffer]') throw mismatch(at, 'an ArrayBuffer', value);
  return value as ArrayBuffer;
};

export function oneOf<const Values extends readonly string[]>(values: Values): Check<Values[number]> {
  return (value, at) => {
    if (typeof value !== 'string' || !values.includes(value)) throw mismatch(at, `one of ${values.join(', ')}`, value);
    return value;
  };
}

export function nullable<T>(check: Check<T>): Check<T | null> {
  return (value, at) => (value === null ? null : check(value, at));
}

export function array<T>(check: Check<T>): Check<readonly T[]> {
  return (value, at) => {
    if (!Array.isArray(value)) throw mismatch(at, 'an array', value);
    value.forEach((item: unknown, index) => check(item, `${at}[${String(index)}]`));
    return value as readonly T[];
  };
}

/** Every value of an object whose keys are not known beforehand. */
export function record<T>(check: Check<T>): Check<Readonly<Record<string, T>>> {
  return (value, at) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw mismatch(at, 'an object', value);
    for (const [key, item] of Object.entries(value)) check(item, `${at}.${key}`);
    return value as Readonly<Record<string, T>>;
  };
}

/** All keys must be there; keys of later versions are passed over. */
export function object<Shape extends Readonly<Record<string, Check<unknown>>>>(
  shape: Shape,
): Check<{ readonly [Key in keyof Shape]: Checked<Shape[Key]> }> {
  const entries = Object.entries(shape);
  return (value, at) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw mismatch(at, 'an object', value);
    for (const [key, check] of entries) check((value as Record<string, unknown>)[key], `${at}.${key}`);
    return value as { readonly [Key in keyof Shape]: Checked<Shape[Key]> };
  };
}
