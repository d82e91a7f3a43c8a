// What the tests in the extension host share.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import * as vscode from 'vscode';

export const EXTENSION = 'lr-qat.lr-qat-studio';

export function workspaceFolder(): vscode.Uri {
  const folder = vscode.workspace.workspaceFolders?.[0];
  assert.ok(folder !== undefined);
  return folder.uri;
}

/** Waits until `find` finds something. */
export async function eventually<Found>(find: () => Promise<Found | undefined> | Found | undefined): Promise<Found> {
  for (const end = Date.now() + 60_000; ;) {
    const found = await find();
    if (found !== undefined) return found;
    assert.ok(Date.now() < end, 'not within 60 s');
    await sleep(50);
  }
}
