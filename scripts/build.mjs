// Bundles the TypeScript entry points and, with --tests, every test file.
import { build } from 'esbuild';
import { globSync } from 'tinyglobby';
import { chmodSync, existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { writeNotices } from './notices.mjs';

const shared = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  sourcemap: 'linked',
  logLevel: 'warning',
  outdir: 'dist',
  metafile: true,
  external: ['vscode', '*.node'],
};

// One entry a process or thread; each exists as soon as its room does.
const entries = {
  cli: 'src/cli/main.ts',
  trainer: 'src/trainer/main.ts',
  'tokenize-worker': 'src/formats/tokenize-worker.ts',
  'world-worker': 'src/editor/validation/world-worker.ts',
};
const present = Object.fromEntries(Object.entries(entries).filter(([, file]) => existsSync(file)));
const bundle = {
  ...shared,
  // The `main` of jsonc-parser is a UMD file, whose requires cannot be bundled.
  alias: { 'jsonc-parser': 'jsonc-parser/lib/esm/main.js' },
  // fdir (of tinyglobby) asks for its own URL, which a CommonJS bundle has not.
  define: { 'import.meta.url': 'bundleUrl' },
  banner: { js: "const bundleUrl = require('node:url').pathToFileURL(__filename).href;" },
};
const metafiles = [];
metafiles.push((await build({ ...bundle, entryPoints: present })).metafile);
// Every window of the editor reads it when it starts.
metafiles.push(
  (await build({ ...bundle, entryPoints: { extension: 'src/extension.ts' }, minify: true, keepNames: true })).metafile,
);
// `bin` of package.json names it.
chmodSync('dist/cli.js', 0o755);

// One bundle a webview, with its style sheet beside it. They run in a browser and get nothing of Node.
const panels = Object.fromEntries(
  globSync(['webview/*/main.ts']).map((file) => [path.posix.basename(path.posix.dirname(file)), file]),
);
const pages = await build({
  bundle: true,
  metafile: true,
  platform: 'browser',
  target: 'chrome128',
  format: 'iife',
  minify: true,
  sourcemap: 'linked',
  legalComments: 'none',
  logLevel: 'warning',
  entryPoints: panels,
  outdir: 'dist/webview',
});
writeNotices('dist/THIRD-PARTY-NOTICES.txt', [...metafiles, pages.metafile]);

if (process.argv.includes('--tests')) {
  rmSync('dist/test', { recursive: true, force: true });
  await build({
    ...shared,
    entryPoints: globSync(['test/**/*.test.ts']),
    outdir: 'dist/test',
    outbase: 'test',
    packages: 'external',
    format: 'esm',
    outExtension: { '.js': '.mjs' },
  });
}
