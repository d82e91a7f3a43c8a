// Programs of test/ that users of the repository run: benchmarks and tables.
import { build } from 'esbuild';

/** Bundles TypeScript files for Node, each as `outdir/NAME.mjs`. */
export async function bundlePrograms(entryPoints, outdir) {
  await build({
    entryPoints,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    packages: 'external',
    external: ['*.node', 'vscode'],
    outdir,
    outExtension: { '.js': '.mjs' },
    logLevel: 'warning',
  });
}
