// Where the native build lies. Searched are places that belong to this installation and, by the environment, to the user;
// never the folder a user works in: opening a project must not run its code.
import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { name } from '../../package.json';
import { UserError } from '../errors';

export interface NativeFiles {
  /** lrqat.node. */
  readonly addon: string;
  /** The oneDNN glue beside it; null: not built, the engine uses its own matrix products. */
  readonly oneDnn: string | null;
  /** The CUDA backend beside it; null: not built. */
  readonly cuda: string | null;
}

export const NATIVE_VARIABLE = 'LRQAT_NATIVE';
const ADDON = 'lrqat.node';
const GLUE: Partial<Record<NodeJS.Platform, string>> = {
  win32: 'lrqat_onednn.dll',
  darwin: 'liblrqat_onednn.dylib',
};

const CUDA: Partial<Record<NodeJS.Platform, string>> = { win32: 'lrqat_cuda.dll' };

/** Finds the native build: the file or folder that LRQAT_NATIVE names, `native/` beside the running bundle or its parent folder
 *  (as packages are laid out), `build/Release` of the project the bundle belongs to.
 *  @throws UserError NativeMissing that lists where was searched and how to build */
export function findNative(environment: NodeJS.ProcessEnv = process.env): NativeFiles {
  const named = environment[NATIVE_VARIABLE];
  if (named !== undefined && named !== '') {
    const file = path.resolve(named);
    const addon = isFolder(file) ? path.join(file, ADDON) : file;
    if (!existsSync(addon)) {
      throw new UserError('NativeMissing', `${NATIVE_VARIABLE} is ${named}, but there is no ${addon}`, {
        hint: `Unset ${NATIVE_VARIABLE}, or let it name ${ADDON} or the folder that holds it.`,
      });
    }
    return withCompanions(addon);
  }
  const searched = candidates(bundleFolder());
  const addon = searched.find((file) => existsSync(file));
  if (addon !== undefined) return withCompanions(addon);
  throw new UserError(
    'NativeMissing',
    `the native engine is not built; searched:${searched.map((file) => `\n  ${file}`).join('')}`,
    {
      hint: 'Build it with: npm run setup',
    },
  );
}

function withCompanions(addon: string): NativeFiles {
  const beside = (name: string): string | null => {
    const file = path.join(path.dirname(addon), name);
    return existsSync(file) ? file : null;
  };
  return {
    addon,
    oneDnn: beside(GLUE[process.platform] ?? 'liblrqat_onednn.so'),
    cuda: beside(CUDA[process.platform] ?? 'liblrqat_cuda.so'),
  };
}

function candidates(bundle: string): string[] {
  const list = [path.join(bundle, 'native', ADDON), path.join(path.dirname(bundle), 'native', ADDON)];
  const root = projectRoot();
  if (root !== null) list.push(path.join(root, 'build', 'Release', ADDON));
  return list;
}

/** Folder of the running bundle. Shipped bundles are CommonJS and know it; the ES modules of the tests have been started by
 *  their path. */
export function bundleFolder(): string {
  return IS_SHIPPED ? __dirname : path.dirname(path.resolve(process.argv[1] ?? '.'));
}

const IS_SHIPPED = typeof __dirname === 'string';

/** The folder of this project's package.json, at or a few levels above the bundle; null outside of a clone or package. */
export function projectRoot(): string | null {
  // Only tests may look at where they are started: for a shipped bundle that is the user's workspace.
  for (const start of IS_SHIPPED ? [__dirname] : [bundleFolder(), process.cwd()]) {
    let folder = start;
    for (let level = 0; level < 4; level++) {
      if (packageName(path.join(folder, 'package.json')) === name) return folder;
      folder = path.dirname(folder);
    }
  }
  return null;
}

function packageName(file: string): unknown {
  try {
    const manifest: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return typeof manifest === 'object' && manifest !== null && 'name' in manifest ? manifest.name : null;
  } catch {
    return null;
  }
}

function isFolder(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isDirectory() === true;
}
