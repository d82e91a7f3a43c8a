import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { LANGUAGE } from '../../../src/editor/contributions';
import { eventually, workspaceFolder } from './support';

async function opened(name: string, text: string): Promise<vscode.TextDocument> {
  const uri = vscode.Uri.joinPath(workspaceFolder(), name);
  await vscode.workspace.fs.writeFile(uri, new TextEncoder().encode(text));
  return vscode.workspace.openTextDocument(uri);
}

async function replace(document: vscode.TextDocument, from: string, to: string): Promise<void> {
  const at = document.getText().indexOf(from);
  assert.ok(at >= 0, from);
  const edit = new vscode.WorkspaceEdit();
  edit.replace(document.uri, new vscode.Range(document.positionAt(at), document.positionAt(at + from.length)), to);
  await vscode.workspace.applyEdit(edit);
}

const problem = (document: vscode.TextDocument, pattern: RegExp): vscode.Diagnostic | undefined =>
  vscode.languages.getDiagnostics(document.uri).find(({ message }) => pattern.test(message));

const EXPERIMENT = `{
  // comments are fine
  "model": { "path": "model" },
  "data": { "train": ["train.txt"], "validation": ["validation.txt"], "sequenceLength": 64 },
  "training": { "steps": 10, "batchSize": 8, "microBatchSize": 4 },
}
`;

export function documentTests(): void {
  describe('experiment files', () => {
    it('have their own language, and no problems when they are right', async () => {
      const document = await opened('right.lrqat.json', EXPERIMENT);
      assert.equal(document.languageId, LANGUAGE);
      const lenses = await eventually(async () => {
        const found = await vscode.commands.executeCommand<vscode.CodeLens[]>(
          'vscode.executeCodeLensProvider',
          document.uri,
        );
        const titles = found.map(({ command }) => command?.title ?? '');
        return titles.some((title) => title.includes('fits')) ? titles : undefined;
      });
      assert.equal(lenses[0], '$(play) Start Training');
      assert.deepEqual(vscode.languages.getDiagnostics(document.uri), []);
    });

    it('are checked while they are typed, cross-field rules and files included', async () => {
      const document = await opened('typed.lrqat.json', EXPERIMENT);
      await replace(document, '"microBatchSize": 4', '"microBatchSize": 3');
      const wrong = await eventually(() => problem(document, /3 does not divide batchSize 8/));
      assert.equal(wrong.source, 'lrqat');
      assert.equal(document.getText(wrong.range), '3');
      await replace(document, '"microBatchSize": 3', '"microBatchSize": 4');
      await eventually(() => (problem(document, /divide/) === undefined ? true : undefined));
      await replace(document, '"train.txt"', '"tain.txt"');
      await eventually(() => problem(document, /tain\.txt.*did you mean/));
    });

    it('are mended by quick fixes', async () => {
      const document = await opened('mended.lrqat.json', EXPERIMENT.replace('"steps"', '"stpes"'));
      const wrong = await eventually(() => problem(document, /stpes/));
      const edit = await eventually(async () => {
        const actions = await vscode.commands.executeCommand<vscode.CodeAction[]>(
          'vscode.executeCodeActionProvider',
          document.uri,
          wrong.range,
        );
        return actions.find(({ title, isPreferred }) => title.includes('steps') && isPreferred === true)?.edit;
      });
      await vscode.workspace.applyEdit(edit);
      await eventually(() => (problem(document, /stpes/) === undefined ? true : undefined));
      assert.ok(document.getText().includes('"steps": 10'));
    });

    it('complete keys and values from the schema', async () => {
      const document = await opened('completed.lrqat.json', EXPERIMENT.replace('"steps": 10,', '"": 1, "steps": 10,'));
      const at = document.positionAt(document.getText().indexOf('"": 1') + 1);
      await eventually(async () => {
        const { items } = await vscode.commands.executeCommand<vscode.CompletionList>(
          'vscode.executeCompletionItemProvider',
          document.uri,
          at,
        );
        // Until the JSON service has started, words of the file are offered alone.
        return items.some(({ label }) => (typeof label === 'string' ? label : label.label) === 'warmupRatio')
          ? items
          : undefined;
      });
    });

    it('explain keys when the mouse rests on them', async () => {
      const document = await opened('hovered.lrqat.json', EXPERIMENT);
      const at = document.positionAt(document.getText().indexOf('"microBatchSize"') + 3);
      await eventually(async () => {
        const hovers = await vscode.commands.executeCommand<vscode.Hover[]>(
          'vscode.executeHoverProvider',
          document.uri,
          at,
        );
        const text = hovers
          .flatMap((hover) => hover.contents)
          .map((each) => (each instanceof vscode.MarkdownString ? each.value : JSON.stringify(each)))
          .join('\n');
        // The sentence of the schema; until that has been loaded, other hovers may be there alone.
        return /sequences/i.test(text) ? text : undefined;
      });
    });
  });
}
