// package.json and the typed declarations say the same.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { globSync } from 'tinyglobby';
import {
  CHARTS_PANEL,
  COMMANDS,
  COMPARE_PANEL,
  CONTEXT_KEYS,
  EXPERIMENT_SUFFIX,
  EXPLORER_VIEW,
  FORM_EDITOR,
  LANGUAGE,
  MACHINE_SETTINGS,
  PROBLEM_MATCHER,
  QUEUE_VIEW,
  RESTRICTED_SETTINGS,
  SETTING_DEFAULTS,
  TASK_TYPE,
  VIEW_CONTAINER,
  WALKTHROUGH,
  type CommandId,
} from '../../src/editor/contributions';
import { contextWords } from '../../src/editor/explorer/run-text';
import { listedRun } from './runs';

interface MenuItem {
  readonly command: string;
  readonly when?: string;
}

interface Manifest {
  readonly main: string;
  readonly icon: string;
  readonly extensionKind: readonly string[];
  readonly activationEvents: readonly string[];
  readonly capabilities: {
    readonly untrustedWorkspaces: { readonly supported: unknown; readonly restrictedConfigurations: readonly string[] };
    readonly virtualWorkspaces: { readonly supported: unknown; readonly description: string };
  };
  readonly contributes: {
    readonly commands: readonly {
      readonly command: string;
      readonly title: string;
      readonly category: string;
      readonly icon?: string;
    }[];
    readonly menus: Readonly<Record<string, readonly MenuItem[]>>;
    readonly views: Readonly<Record<string, readonly { readonly id: string; readonly icon: string }[]>>;
    readonly viewsContainers: { readonly activitybar: readonly { readonly id: string; readonly icon: string }[] };
    readonly viewsWelcome: readonly { readonly view: string; readonly contents: string; readonly when: string }[];
    readonly languages: readonly {
      readonly id: string;
      readonly extensions: readonly string[];
      readonly configuration: string;
    }[];
    readonly grammars: readonly { readonly language: string; readonly path: string }[];
    readonly jsonValidation: readonly { readonly fileMatch: string; readonly url: string }[];
    readonly configuration: {
      readonly properties: Readonly<Record<string, { readonly default: unknown; readonly scope: string }>>;
    };
    readonly customEditors: readonly {
      readonly viewType: string;
      readonly priority: string;
      readonly selector: readonly { readonly filenamePattern: string }[];
    }[];
    readonly taskDefinitions: readonly { readonly type: string }[];
    readonly problemMatchers: readonly { readonly name: string }[];
    readonly walkthroughs: readonly {
      readonly id: string;
      readonly title: string;
      readonly description: string;
      readonly steps: readonly {
        readonly id: string;
        readonly title: string;
        readonly description: string;
        readonly completionEvents: readonly string[];
        readonly media: { readonly svg: string; readonly altText: string };
      }[];
    }[];
    readonly keybindings?: unknown;
  };
}

const manifestText = readFileSync('package.json', 'utf8');
const manifest = JSON.parse(manifestText) as Manifest;
const strings = JSON.parse(readFileSync('package.nls.json', 'utf8')) as Readonly<Record<string, string>>;
const { contributes } = manifest;

test('commands agree: ids, icons, category', () => {
  assert.deepEqual(contributes.commands.map(({ command }) => command).sort(), Object.keys(COMMANDS).sort());
  for (const { command, icon, category } of contributes.commands) {
    assert.equal(icon, COMMANDS[command as CommandId].icon, command);
    assert.equal(category, 'LR-QAT', command);
  }
  assert.equal(contributes.keybindings, undefined, 'keys are the user’s');
});

test('commands that need an argument are not in the palette', () => {
  const hidden = (contributes.menus['commandPalette'] ?? [])
    .filter(({ when }) => when === 'false')
    .map(({ command }) => command);
  const declared = Object.entries(COMMANDS).filter(([, { palette }]) => !palette);
  assert.deepEqual(hidden.sort(), declared.map(([id]) => id).sort());
});

test('menus name declared commands, views and context keys', () => {
  const known = new Set<string>([...CONTEXT_KEYS, EXPLORER_VIEW, FORM_EDITOR, QUEUE_VIEW]);
  for (const [menu, items] of Object.entries(contributes.menus)) {
    for (const { command, when } of items) {
      assert.ok(command in COMMANDS, `${menu}: ${command}`);
      const ours = [...(when ?? '').matchAll(/\blrqat\.\w+/g)].map(([key]) => key);
      for (const key of ours) assert.ok(known.has(key), `${menu}: ${key}`);
    }
  }
});

test('words in viewItem conditions are words that items have', () => {
  const states = ['queued', 'running', 'paused', 'finished', 'crashed'] as const;
  const words = new Set(['experiment', 'broken']);
  for (const state of states) {
    for (const star of [true, false]) {
      for (const word of contextWords(listedRun('r', { state, notes: { star } })).split(' ')) words.add(word);
    }
  }
  for (const [, pattern = ''] of manifestText.matchAll(/viewItem =~ \/(.*?)\//g)) {
    for (const [word] of pattern.replaceAll('\\\\b', ' ').matchAll(/[a-z]+/g)) assert.ok(words.has(word), word);
  }
});

test('views, language, tasks and panel have the declared ids', () => {
  assert.deepEqual(
    contributes.viewsContainers.activitybar.map(({ id }) => id),
    [VIEW_CONTAINER],
  );
  assert.deepEqual(
    contributes.views[VIEW_CONTAINER]?.map(({ id }) => id),
    [EXPLORER_VIEW, QUEUE_VIEW],
  );
  assert.ok(contributes.viewsWelcome.every(({ view }) => view === EXPLORER_VIEW || view === QUEUE_VIEW));
  assert.deepEqual(
    contributes.languages.map(({ id, extensions }) => [id, extensions]),
    [[LANGUAGE, [EXPERIMENT_SUFFIX]]],
  );
  assert.deepEqual(
    contributes.grammars.map(({ language }) => language),
    [LANGUAGE],
  );
  assert.deepEqual(
    contributes.customEditors.map(({ viewType, priority, selector }) => [viewType, priority, selector]),
    [
      // The text stays what a file opens with.
      [FORM_EDITOR, 'option', [{ filenamePattern: `*${EXPERIMENT_SUFFIX}` }]],
    ],
  );
  assert.deepEqual(
    contributes.taskDefinitions.map(({ type }) => type),
    [TASK_TYPE],
  );
  assert.deepEqual(
    contributes.problemMatchers.map(({ name }) => name),
    [PROBLEM_MATCHER],
  );
  for (const panel of [CHARTS_PANEL, COMPARE_PANEL]) {
    assert.ok(manifest.activationEvents.includes(`onWebviewPanel:${panel}`));
  }
});

test('settings agree: keys, defaults, scopes', () => {
  const { properties } = contributes.configuration;
  assert.deepEqual(
    Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, value.default])),
    SETTING_DEFAULTS,
  );
  for (const key of MACHINE_SETTINGS) assert.equal(properties[key]?.scope, 'machine', key);
  const { untrustedWorkspaces, virtualWorkspaces } = manifest.capabilities;
  assert.deepEqual([...untrustedWorkspaces.restrictedConfigurations].sort(), [...RESTRICTED_SETTINGS].sort());
  assert.equal(untrustedWorkspaces.supported, 'limited');
  assert.equal(virtualWorkspaces.supported, false);
  assert.deepEqual(manifest.extensionKind, ['workspace']);
});

test('every %text% is in package.nls.json and every text there is used', () => {
  const used = new Set([...manifestText.matchAll(/"%([^%"]+)%"/g)].map(([, key]) => key));
  assert.deepEqual([...used].sort(), Object.keys(strings).sort());
});

test('files that the manifest names are there', () => {
  const files = [
    manifest.icon,
    ...contributes.viewsContainers.activitybar.map(({ icon }) => icon),
    ...contributes.languages.map(({ configuration }) => configuration),
    ...contributes.grammars.map((grammar) => grammar.path),
    ...contributes.jsonValidation.map(({ url }) => url),
    ...contributes.walkthroughs.flatMap(({ steps }) => steps.map(({ media }) => media.svg)),
  ];
  for (const file of files) assert.ok(existsSync(file), file);
  assert.equal(manifest.main, './dist/extension.js');
});

test('the walkthrough: its steps end by events that there are, its buttons are commands, its pictures follow the theme', () => {
  const [walkthrough, ...others] = contributes.walkthroughs;
  assert.ok(walkthrough !== undefined && others.length === 0);
  assert.equal(walkthrough.id, WALKTHROUGH);
  assert.deepEqual(
    walkthrough.steps.map(({ id }) => id),
    ['sample', 'form', 'start', 'charts', 'compare', 'export'],
  );
  const text = (placeholder: string): string => strings[placeholder.replaceAll('%', '')] ?? '';
  const source = globSync(['src/editor/**/*.ts'])
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n');
  for (const { id, title, description, completionEvents, media } of walkthrough.steps) {
    for (const placeholder of [title, description, media.altText]) assert.ok(text(placeholder) !== '', placeholder);
    // Without an event VS Code ticks a step off as soon as it is read.
    assert.deepEqual(completionEvents, [`onContext:lrqat.did.${id}`]);
    assert.ok((CONTEXT_KEYS as readonly string[]).includes(`lrqat.did.${id}`), id);
    assert.ok(source.includes(`happened('${id}')`), id);
    const buttons = [...text(description).matchAll(/\]\(command:([\w.]+)\)/g)].map(([, command]) => command ?? '');
    assert.ok(buttons.length > 0, id);
    for (const command of buttons) assert.ok(command in COMMANDS, command);
    const picture = readFileSync(media.svg, 'utf8');
    const colours = [...picture.matchAll(/(?:fill|stroke)="([^"]+)"/g)].map(([, colour]) => colour ?? '');
    for (const colour of colours) assert.match(colour, /^(none|var\(--vscode-.*\))$/, media.svg);
    assert.doesNotMatch(picture, /<script|style=|href=/, 'the page that shows it allows none of these');
  }
});

test('the bundle of translatable texts has them all', () => {
  const check = spawnSync(process.execPath, ['scripts/l10n.mjs', '--check'], { encoding: 'utf8' });
  assert.equal(check.status, 0, check.stderr);
});

test('texts that could not be translated are found, in pages as in the host', async () => {
  const { untranslatableIn } = (await import(path.resolve('scripts/l10n.mjs'))) as {
    readonly untranslatableIn: (source: string) => readonly string[];
  };
  for (const bad of [
    't(name)',
    'l10n.t(`run ${name}`)',
    "button({ label: 'Close it' })",
    "heading.textContent = 'Live charts'",
    "element('p', { class: 'x' }, 'No run is shown')",
  ]) {
    assert.equal(untranslatableIn(bad).length, 1, bad);
  }
  for (const good of [
    "t('fine')",
    "l10n.t(\n  'fine {0}', name)",
    'button({ label: text.close() })',
    "element('div', { class: 'x' }, `+ ${String(more)}`)",
    "element('p', { class: 'x' }, text.nothingYet())",
  ]) {
    assert.deepEqual(untranslatableIn(good), [], good);
  }
});

test('every declared command is registered', () => {
  const source = globSync(['src/editor/**/*.ts'])
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n');
  const registered = new Set(
    [/\bregister\(\s*'(lrqat\.\w+)'/g, /\bregisterRunPanels\(\s*\{\s*command: '(lrqat\.\w+)'/g].flatMap((call) =>
      [...source.matchAll(call)].map(([, id]) => id),
    ),
  );
  for (const id of Object.keys(COMMANDS)) assert.ok(registered.has(id), id);
});
