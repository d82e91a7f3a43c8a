// The licences of the packages that are inside the bundles: most ask that their text comes along.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** Folder in node_modules of the package that a bundled file belongs to, or null for our own files. */
function packageFolder(input) {
  const match = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input);
  return match === null ? null : match[0];
}

/** @param metafiles what esbuild says of each bundle. Throws for a package that names no licence. */
export function writeNotices(file, metafiles) {
  const inputs = metafiles.flatMap((metafile) => Object.keys(metafile.inputs));
  const folders = [...new Set(inputs.map(packageFolder).filter((folder) => folder !== null))].sort();
  const notices = folders.map((folder) => {
    const { name, version, license, author, homepage } = JSON.parse(
      readFileSync(path.join(folder, 'package.json'), 'utf8'),
    );
    if (typeof license !== 'string') throw new Error(`${folder}: no licence in package.json`);
    const text = readdirSync(folder).find((each) => /^(licen[cs]e|copying)/i.test(each));
    const by = typeof author === 'string' ? author : (author?.name ?? '');
    const head = `${name} ${version} (${license})${by === '' ? '' : `, ${by}`}${homepage ? `\n${homepage}` : ''}`;
    return text === undefined || !existsSync(path.join(folder, text))
      ? head
      : `${head}\n\n${readFileSync(path.join(folder, text), 'utf8').trim()}`;
  });
  writeFileSync(file, `Parts of other projects in these bundles\n\n${notices.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`);
}
