// The documentation: every link leads somewhere, every command and option it names is there, every field of a run's files is
// explained, and every panel of the editor has its page with a picture.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { globSync } from 'tinyglobby';
import { EXIT, EXIT_CODE_HELP } from '../src/cli/exit-codes';

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

void test('exit codes are those of the documentation and of --help', () => {
  const codes = Object.values(EXIT);
  const rows = [...readFileSync('docs/cli.md', 'utf8').matchAll(/^\| (\d+) +\|/gm)].map(([, code]) => Number(code));
  assert.deepEqual(rows, codes);
  const lines = [...EXIT_CODE_HELP.matchAll(/^ {2}(\d+) /gm)].map(([, code]) => Number(code));
  assert.deepEqual(lines, codes);
});

/** Code of a page, in blocks and within lines. */
function codeOf(page: string): string[] {
  const text = readFileSync(page, 'utf8');
  const blocks = [...text.matchAll(/```\w*\n([\s\S]*?)```/g)].flatMap(([, block = '']) => block.split('\n'));
  const within = text.replace(/```[\s\S]*?```/g, '').matchAll(/`([^`\n]+)`/g);
  return [...blocks, ...[...within].map(([, code = '']) => code)];
}

/** Commands and options that the help of a command lists, by its words; asked once each. */
const helps = new Map<string, Promise<{ readonly commands: Set<string>; readonly options: Set<string> }>>();

function helpOf(words: readonly string[]): ReturnType<typeof askHelp> {
  const key = words.join(' ');
  const help = helps.get(key) ?? askHelp(words);
  helps.set(key, help);
  return help;
}

async function askHelp(words: readonly string[]) {
  const { stdout } = await promisify(execFile)(process.execPath, ['dist/cli.js', ...words, '--help']);
  const listed = stdout.split(/^Examples:/m)[0] ?? '';
  const named = (pattern: RegExp): Set<string> => new Set([...listed.matchAll(pattern)].map(([, name = '']) => name));
  return { commands: named(/^ {2}([a-z]+)\b/gm), options: named(/(?<![\w-])(--[a-z][a-z-]*|-[a-zA-Z])\b/g) };
}

/** What is not there of a call such as `train FILE [--runs DIR]`. */
async function unknownIn(call: string): Promise<string[]> {
  const command: string[] = [];
  const unknown: string[] = [];
  for (const word of call.split(/\s+/)) {
    const option = /^\[?(--[a-z][a-z-]*)/.exec(word)?.[1];
    const { commands, options } = await helpOf(command);
    if (option !== undefined) {
      // `queue` alone lists.
      const byDefault = commands.has('list') ? (await helpOf([...command, 'list'])).options : options;
      if (!options.has(option) && !byDefault.has(option)) unknown.push(`${command.join(' ')} ${option}`);
    } else if (commands.has(word)) {
      if (word === 'help') break;
      command.push(word);
    } else if (command.length === 0 && /^[a-z]+$/.test(word)) {
      unknown.push(word);
    }
  }
  return unknown;
}

void test('npm scripts, commands of lrqat with their options, and files that the documentation names are there', async () => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> };
  const unknown: string[] = [];
  const calls = new Map<string, string>();
  for (const page of pages) {
    for (const code of codeOf(page)) {
      for (const [, script = ''] of code.matchAll(/npm run ([\w:-]+\w)/g))
        if (!(script in scripts)) unknown.push(`${page}: npm run ${script}`);
      for (const [, call = ''] of code.matchAll(/(?:^|[;&|] )lrqat ([^;&|#]*)/g)) calls.set(call.trim(), page);
      const file = /^(?:src|native|test|scripts|media|webview|samples)\/[\w./-]*\w$/.exec(code)?.[0];
      if (file !== undefined && !existsSync(file)) unknown.push(`${page}: ${file}`);
    }
  }
  assert.ok(calls.size > 40, `only ${String(calls.size)} calls of lrqat were found`);
  for (const [call, page] of calls) {
    for (const what of await unknownIn(call)) unknown.push(`${page}: lrqat ${what}`);
  }
  assert.deepEqual(unknown, []);
});

void test('every field of the events, the state and the result of a run is explained', () => {
  const page = readFileSync('docs/run-directory.md', 'utf8');
  const missing = ['events', 'status', 'result-values'].flatMap((file) => {
    const fields = [...readFileSync(`src/runs/${file}.ts`, 'utf8').matchAll(/^ +readonly (\w+)\??:/gm)];
    assert.ok(fields.length > 5, file);
    return fields
      .filter(([, field = '']) => !new RegExp(`\\b${field}\\b`).test(page))
      .map(([, field]) => `${file}: ${field}`);
  });
  assert.deepEqual(missing, []);
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
