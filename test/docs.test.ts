// The pages under docs: every link leads somewhere, and every panel of the editor has its page with a picture.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { globSync } from 'tinyglobby';

const pages = globSync(['*.md', 'docs/*.md', 'samples/*/*.md']);

/** Anchors as GitHub makes them of headings. */
function anchorsOf(file: string): Set<string> {
  const headings = readFileSync(file, 'utf8').matchAll(/^#+ (.*)$/gm);
  const slug = (heading: string): string =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-');
  return new Set([...headings].map(([, heading = '']) => slug(heading)));
}

void test('links of the documentation lead to files and headings that are there', () => {
  assert.ok(pages.length > 10);
  const broken: string[] = [];
  for (const page of pages) {
    const text = readFileSync(page, 'utf8').replace(/```[\s\S]*?```/g, '');
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [file = '', anchor] = target.split('#');
      const found = file === '' ? page : path.join(path.dirname(page), file);
      const isThere = existsSync(found) && (anchor === undefined || anchorsOf(found).has(anchor));
      if (!isThere) broken.push(`${page}: ${target}`);
    }
  }
  assert.deepEqual(broken, []);
});

void test('every panel has a page with pictures of it in a dark, a light and a high-contrast theme', () => {
  const panels = { explorer: 'tooltip', form: 'form', charts: 'live', compare: 'compare', queue: 'queue' };
  for (const [page, picture] of Object.entries(panels)) {
    const text = readFileSync(`docs/${page}.md`, 'utf8');
    assert.match(text, new RegExp(`!\\[[^\\]]+\\]\\(images/${picture}-dark\\.png\\)`), page);
    for (const theme of ['dark', 'light', 'high-contrast'])
      assert.ok(existsSync(`docs/images/${picture}-${theme}.png`), `${picture} in ${theme}`);
  }
});
