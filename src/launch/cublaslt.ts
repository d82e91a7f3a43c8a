// Finding cuBLASLt, the library of the GPU's matrix products. Nothing of the workspace is ever loaded: Python environments count
// only where the user's shell has activated them outside of it, or where the system keeps them.
import { existsSync, readdirSync, realpathSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

export const CUBLASLT_VARIABLE = 'LRQAT_CUBLASLT';

/** Newest first: the engine works with the libraries of CUDA 12 and 13. */
const MAJORS = ['13', '12'] as const;

export interface CublasLtSearch {
  /** File to open; null: none found. */
  readonly file: string | null;
  /** Folders and names looked at, for messages. */
  readonly searched: readonly string[];
}

export interface CublasLtOptions {
  readonly environment?: NodeJS.ProcessEnv;
  /** Nothing below this folder is used; default: where the program was started. */
  readonly workspace?: string;
}

/** In this order: what LRQAT_CUBLASLT names, the CUDA toolkit, the system's library folders, Python environments. */
export function findCublasLt({
  environment = process.env,
  workspace = process.cwd(),
}: CublasLtOptions = {}): CublasLtSearch {
  const named = environment[CUBLASLT_VARIABLE];
  if (named !== undefined && named !== '') {
    const file = path.resolve(named);
    return { file: existsSync(file) ? file : null, searched: [`${CUBLASLT_VARIABLE}=${named}`] };
  }
  const folders = [...toolkits(environment), ...systemFolders(), ...pythonFolders(environment)].filter(
    (folder) => !isInside(folder, workspace),
  );
  for (const major of MAJORS) {
    for (const folder of folders) {
      const file = path.join(folder, libraryName(major));
      if (existsSync(file)) return { file, searched: folders };
    }
  }
  return { file: null, searched: folders };
}

function libraryName(major: string): string {
  return process.platform === 'win32' ? `cublasLt64_${major}.dll` : `libcublasLt.so.${major}`;
}

function toolkits(environment: NodeJS.ProcessEnv): string[] {
  const homes = [environment['CUDA_PATH'], environment['CUDA_HOME']].filter(
    (home) => home !== undefined && home !== '',
  );
  if (process.platform !== 'win32') {
    homes.push(...entries('/usr/local').flatMap((name) => (/^cuda(-\d|$)/.test(name) ? [`/usr/local/${name}`] : [])));
  }
  return homes.flatMap((home) => ['lib64', 'lib', 'bin', 'bin/x64'].map((folder) => path.join(String(home), folder)));
}

function systemFolders(): string[] {
  if (process.platform === 'win32') return [];
  const machine = { x64: 'x86_64', arm64: 'aarch64' }[process.arch as string] ?? process.arch;
  return [`/usr/lib/${machine}-linux-gnu`, '/usr/lib64', '/usr/local/lib', '/usr/lib', '/usr/lib/wsl/lib'];
}

/** `nvidia/cublas/lib` and `nvidia/cu13/lib` of pip's packages. */
function pythonFolders(environment: NodeJS.ProcessEnv): string[] {
  const roots = [environment['VIRTUAL_ENV'], environment['CONDA_PREFIX'], path.join(os.homedir(), '.local')];
  if (process.platform !== 'win32') roots.push('/usr/local', '/usr', '/opt/conda');
  const packages = roots
    .filter((root) => root !== undefined && root !== '')
    .flatMap((root) => {
      const lib = path.join(String(root), 'lib');
      const pythons = entries(lib).filter((name) => /^python3(\.\d+)?$/.test(name));
      return pythons.flatMap((python) =>
        ['site-packages', 'dist-packages'].map((folder) => path.join(lib, python, folder)),
      );
    });
  return packages.flatMap((folder) => ['cu13', 'cublas'].map((name) => path.join(folder, 'nvidia', name, 'lib')));
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder).sort().reverse();
  } catch {
    return [];
  }
}

function isInside(folder: string, workspace: string): boolean {
  if (!existsSync(folder)) return false;
  const relative = path.relative(realpathSync(workspace), realpathSync(folder));
  return relative === '' || (!relative.startsWith('..') && !path.isAbsolute(relative));
}
