// Loading the native build into this process, with a handshake: typed as addon.ts says only once it is known to be of this version.
import { createRequire } from 'node:module';
import type { LrqatAddon } from '../../native/binding/addon';
import { version } from '../../package.json';
import { messageOf, UserError } from '../errors';
import { findNative } from './native-files';

/** Loads lrqat.node. Only for processes that may crash with it: the trainer, tools and tests; others probe it
 *  ({@link probeNative}).
 *  @throws UserError NativeMissing, NativeUnloadable or NativeMismatch */
export function loadAddon(file: string = findNative().addon): LrqatAddon {
  // Read by the OpenMP runtime when it is loaded: threads without work sleep, so that Pause idles the CPU.
  process.env['OMP_WAIT_POLICY'] ??= 'passive';
  let addon: unknown;
  try {
    // A bundle's own `require` knows no files outside of it.
    addon = createRequire(file)(file);
  } catch (error) {
    throw new UserError('NativeUnloadable', `${file}: cannot be loaded (${messageOf(error)})`, {
      hint: UNLOADABLE_HINT,
      cause: error,
    });
  }
  checkAddon(addon, file);
  return addon;
}

export const UNLOADABLE_HINT =
  'It was built for another machine, or a library it needs has gone: build it again with npm run setup.';

function checkAddon(addon: unknown, file: string): asserts addon is LrqatAddon {
  const { engineVersion, Engine, cpuInfo } = (typeof addon === 'object' && addon !== null ? addon : {}) as Partial<
    Record<keyof LrqatAddon, unknown>
  >;
  if (engineVersion !== version) {
    throw new UserError(
      'NativeMismatch',
      `${file}: is of version ${typeof engineVersion === 'string' ? engineVersion : 'unknown'}, this program is ${version}`,
      { hint: 'Build it again with: npm run setup' },
    );
  }
  if (typeof Engine !== 'function' || typeof cpuInfo !== 'function') {
    throw new UserError('NativeMismatch', `${file}: lacks a part of the engine`, {
      hint: 'Build it again with: npm run setup',
    });
  }
}
