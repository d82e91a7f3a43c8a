// Collects the texts that can be translated, `l10n.t('…')` in the editor's code and `t('…')` in the webviews, into
// media/l10n/bundle.l10n.json.
//   --check  writes nothing and fails when the file is stale, and when code says a text that nobody could translate
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

/** Where people would read English whatever their language: translated texts that are not literal, which cannot be collected, and
 *  words of a page (labels, titles, text of elements) that do not go through `t`. */
export function untranslatableIn(source) {
  const computed = /(?<![\w.])(?:l10n\.)?t\(\s*(?!['"\s]|text: string)[^)]*\)?/g;
  const attribute = /(?:'aria-label'|title|placeholder|label|text):\s*['"`](?=[A-Z][a-z])[^'"`]*['"`]/g;
  const words = /(?:['"](?=[^'"]*[A-Za-z]{3})[^'"]*['"]|`[^`$]*[A-Za-z]{3}[^`]*`)/.source;
  const content = new RegExp(`(?:textContent|innerText|ariaLabel) = ${words}`, 'g');
  const element = new RegExp(`(?<![\\w.])element\\(\\s*'[\\w-]+',\\s*\\{[^{}]*\\},\\s*${words}`, 'g');
  return [computed, attribute, content, element].flatMap((pattern) =>
    [...source.matchAll(pattern)].map(([text]) => text),
  );
}

const sources = async (patterns) => {
  const { globSync } = await import('tinyglobby');
  return globSync(patterns, { cwd: root }).sort();
};

async function requireTranslatable() {
  // In the host, labels of VS Code's own items hold words that are no texts (ids, file names); there only computed ones count.
  const host = (await sources(['src/editor/**/*.ts'])).map((file) => [file, (found) => found.includes('t(')]);
  const pages = (await sources(['webview/**/*.ts'])).map((file) => [file, () => true]);
  const bad = [...host, ...pages].flatMap(([file, counts]) =>
    untranslatableIn(readFileSync(path.join(root, file), 'utf8'))
      .filter(counts)
      .map((found) => `${file}: ${found}`),
  );
  if (bad.length > 0) throw new ScriptError(`texts that cannot be translated:\n  ${bad.join('\n  ')}`);
}

export async function bundleText() {
  const files = await sources(['src/editor/**/*.ts', 'webview/**/*.ts']);
  const texts = new Set(files.flatMap((file) => textsIn(readFileSync(path.join(root, file), 'utf8'))));
  return `${JSON.stringify(Object.fromEntries([...texts].sort().map((text) => [text, text])), null, 2)}\n`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(async () => {
    const wanted = await bundleText();
    if (!process.argv.includes('--check')) writeFileSync(bundle, wanted);
    else await requireTranslatable();
    if (readFileSync(bundle, 'utf8') !== wanted) {
      throw new ScriptError('media/l10n/bundle.l10n.json is stale: node scripts/l10n.mjs writes it');
    }
  });
}
