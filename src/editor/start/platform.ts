// Which machine a package was made for. Pure but for reading one file.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { l10n } from '../l10n';

/** One sentence where this is not a machine the packaged engine runs on; null: it is, or this is a clone with a build of its own.
 *  @param bundle folder of the running bundle */
export function wrongPlatform(bundle: string, platform: string, architecture: string): string | null {
  const target = packagedTarget(path.join(bundle, 'native', 'package.json'));
  const here = `${platform}-${architecture}`;
  if (target === null || target === here) return null;
  return l10n.t(
    'This package of LR-QAT Studio trains on {0} and this is {1}: clone the repository and run npm run setup there to build the engine.',
    target,
    here,
  );
}

function packagedTarget(file: string): string | null {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return typeof value === 'object' && value !== null && 'target' in value && typeof value.target === 'string'
      ? value.target
      : null;
  } catch {
    return null;
  }
}
