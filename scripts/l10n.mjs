// Collects the texts that can be translated, `l10n.t('…')` in the editor's code and `t('…')` in the webviews, into
// media/l10n/bundle.l10n.json.
//   --check  writes nothing and fails when the file is stale
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { main, root, ScriptError } from './lib.mjs';

const bundle = path.join(root, 'media', 'l10n', 'bundle.l10n.json');

/** First arguments of `l10n.t(` and `t(` that are literal strings, with their escapes resolved. */
export function textsIn(source) {
  return [...source.matchAll(/(?<![\w.])(?:l10n\.)?t\(\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")/g)].map(([, literal]) =>
    literal.startsWith('"')
      ? JSON.parse(literal)
      : JSON.parse(`"${literal.slice(1, -1).replaceAll("\\'", "'").replaceAll('"', '\\"')}"`),
  );
}

export async function bundleText() {
  const { globSync } = await import('tinyglobby');
  const files = globSync(['src/editor/**/*.ts', 'webview/**/*.ts'], { cwd: root }).sort();
  const texts = new Set(files.flatMap((file) => textsIn(readFileSync(path.join(root, file), 'utf8'))));
  return `${JSON.stringify(Object.fromEntries([...texts].sort().map((text) => [text, text])), null, 2)}\n`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(async () => {
    const wanted = await bundleText();
    if (!process.argv.includes('--check')) writeFileSync(bundle, wanted);
    else if (readFileSync(bundle, 'utf8') !== wanted) {
      throw new ScriptError('media/l10n/bundle.l10n.json is stale: node scripts/l10n.mjs writes it');
    }
  });
}
