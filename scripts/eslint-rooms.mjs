// Room boundaries of docs/architecture.md as a lint rule: a file imports from its own room and from the rooms its room may
// depend on. Imports are resolved against the importing file, so a folder or file that merely shares a room's name is no matter.
import { isBuiltin } from 'node:module';
import path from 'node:path';
import { root } from './lib.mjs';

/** Room → rooms it may import. src/errors.ts and types of the addon (native/binding/addon.ts) are open to all. */
const mayImport = {
  'src/formats': [],
  'src/experiment': ['src/formats'],
  'src/runs': ['src/experiment', 'src/formats'],
  'src/compare': ['src/experiment', 'src/runs'],
  'src/launch': ['src/formats', 'src/experiment', 'src/runs'],
  'src/trainer': ['src/formats', 'src/experiment', 'src/runs', 'src/launch', 'native/binding'],
  'src/cli': ['src/formats', 'src/experiment', 'src/runs', 'src/compare', 'src/launch', 'src/trainer'],
  'src/editor': ['src/formats', 'src/experiment', 'src/runs', 'src/compare', 'src/launch', 'src/cli', 'webview'],
  webview: ['src/experiment', 'src/compare'],
};
const rooms = Object.keys(mayImport);

/** Room → further rooms of which it may import types only: what a browser loads holds no file system code. */
const mayImportTypes = { webview: ['src/runs'] };

/** Packages that one file alone imports, so that they can be replaced there. */
const onlyIn = { '@vscode/webview-ui-toolkit': 'webview/shared/toolkit.ts' };

/** Room of a path relative to the repository, or null for files that belong to none (src/errors.ts, tests, scripts). */
function roomOf(relative) {
  const file = relative.split(path.sep).join('/');
  return rooms.find((room) => file.startsWith(`${room}/`)) ?? (file.startsWith('native/') ? 'native/binding' : null);
}

const rule = {
  meta: {
    type: 'problem',
    schema: [],
    messages: {
      room: '{{from}} may not import {{to}} (rooms it may: {{allowed}}); see docs/architecture.md',
      vscode: "only src/editor imports 'vscode'",
      node: 'a webview runs in a browser: it may not import {{source}}',
      only: 'only {{file}} imports {{source}}',
    },
  },
  create(context) {
    const file = path.relative(root, context.filename).split(path.sep).join('/');
    const from = roomOf(file);
    if (from === null || !(from in mayImport)) return {};

    function check(node, source, isType) {
      if (source === undefined || typeof source.value !== 'string') return;
      if (source.value === 'vscode' && from !== 'src/editor') context.report({ node: source, messageId: 'vscode' });
      const home = onlyIn[source.value];
      if (home !== undefined && home !== file) {
        context.report({ node: source, messageId: 'only', data: { file: home, source: source.value } });
      }
      if (from === 'webview' && isBuiltin(source.value)) {
        context.report({ node: source, messageId: 'node', data: { source: source.value } });
      }
      if (!source.value.startsWith('.')) return;
      const to = roomOf(path.relative(root, path.resolve(path.dirname(context.filename), source.value)));
      if (to === null || to === from || mayImport[from].includes(to)) return;
      if (isType && (to === 'native/binding' || mayImportTypes[from]?.includes(to))) return;
      const allowed = mayImport[from].join(', ') || 'none';
      context.report({ node: source, messageId: 'room', data: { from, to, allowed } });
    }

    return {
      ImportDeclaration: (node) => check(node, node.source, node.importKind === 'type'),
      ExportNamedDeclaration: (node) => check(node, node.source ?? undefined, node.exportKind === 'type'),
      ExportAllDeclaration: (node) => check(node, node.source, node.exportKind === 'type'),
      ImportExpression: (node) => check(node, node.source, false),
      TSImportType: (node) => check(node, node.source ?? node.argument?.literal, true),
    };
  },
};

export const roomsPlugin = { rules: { boundaries: rule } };
