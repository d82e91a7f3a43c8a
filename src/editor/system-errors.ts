// What the file system refuses, in a sentence for people: `EROFS: read-only file system, open '/data/…'` is none.
import { systemErrorCode } from '../errors';
import { l10n } from './l10n';

/** null: no such refusal. */
export function refusalOf(error: unknown): string | null {
  const code = systemErrorCode(error);
  const file = error instanceof Error && 'path' in error && typeof error.path === 'string' ? error.path : null;
  if (file === null) return null;
  switch (code) {
    case 'EROFS':
      return l10n.t('{0} cannot be written: the file system is read-only', file);
    case 'EACCES':
    case 'EPERM':
      return l10n.t('{0} cannot be read or written: permission was denied', file);
    case 'ENOSPC':
    case 'EDQUOT':
      return l10n.t('{0} cannot be written: there is no space left', file);
    default:
      return null;
  }
}
