// Errors that are meant for the user, in one shape for every room.

/** A mistake or situation the user can act on: printed as its message and hint, without a stack. The message names the file,
 *  the key and the value; the hint says what would work. `code` is stable and may be branched on. */
export class UserError extends Error {
  override readonly name = 'UserError';
  readonly code: string;
  readonly hint?: string;

  constructor(code: string, message: string, options: { readonly hint?: string; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    if (options.hint !== undefined) this.hint = options.hint;
  }
}

/** The code of a Node system error (`ENOENT`, `ENOSPC`, …), or null for anything else. */
export function systemErrorCode(error: unknown): string | null {
  if (!(error instanceof Error) || !('code' in error)) return null;
  return typeof error.code === 'string' ? error.code : null;
}

/** One line for any thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
