// Settings, typed by their declaration.
import os from 'node:os';
import path from 'node:path';
import { workspace, type Uri } from 'vscode';
import { SETTING_DEFAULTS, type SettingKey, type Settings } from './contributions';

export function setting<Key extends SettingKey>(key: Key, scope?: Uri): Settings[Key] {
  const value = workspace.getConfiguration(undefined, scope ?? null).get<Settings[Key]>(key);
  // settings.json is written by hand: a value of another type counts as none.
  return value !== undefined && typeof value === typeof SETTING_DEFAULTS[key] ? value : SETTING_DEFAULTS[key];
}

/** A folder as people write it: `~` is the home folder, relative paths start at `base`. */
export function folderPath(written: string, base: string): string {
  return path.resolve(base, written.replace(/^~(?=$|[\\/])/, os.homedir()));
}

/** The runs folder that the user has set for files of a place; undefined: the rule of run directories decides. */
export function runsFolderSetting(scope: Uri): string | undefined {
  const written = setting('lrqat.runsFolder', scope);
  if (written === '') return undefined;
  return folderPath(written, workspace.getWorkspaceFolder(scope)?.uri.fsPath ?? path.dirname(scope.fsPath));
}
