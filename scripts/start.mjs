// `npm start`: sets everything up and opens the sample in VS Code with the extension: the desktop `code` where there is one, else a
// VS Code in the browser whose address is printed.
//   --browser   the browser one even where `code` is on the PATH
//   --port N    its port (default: one that is free)
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { main, root, run, ScriptError, stage, versionOf } from './lib.mjs';
import { setup } from './setup.mjs';

const workspace = path.join(root, 'build', 'sample');

/** A copy, so that trying things out leaves the repository as it is. What was tried stays between starts. */
function sampleWorkspace() {
  if (existsSync(workspace)) return 'kept from last time';
  cpSync(path.join(root, 'samples', 'first-run'), workspace, { recursive: true });
  // Runs lie in the sample, not in the .lrqat of the repository around it.
  mkdirSync(path.join(workspace, '.lrqat'), { recursive: true });
  return 'copied';
}

/** The extension runs from this clone: a change is there after `npm run build` and a reload of the window. */
function openDesktop() {
  run('code', ['--new-window', `--extensionDevelopmentPath=${root}`, workspace]);
  console.log(`\nVS Code is open with ${workspace}: run "LR-QAT: Start Training" from its palette (F1).`);
}

async function openBrowser(port) {
  const { NoVSCode, vscodeServer } = await import('./vscode-server.mjs');
  let server;
  try {
    server = await vscodeServer({ browser: false });
  } catch (error) {
    if (!(error instanceof NoVSCode)) throw error;
    throw new ScriptError(`There is no \`code\` on the PATH, and a VS Code for the browser ${error.message}`);
  }
  const data = path.join(root, 'build', 'vscode', 'data');
  const vsix = path.join(root, 'build', 'start.vsix');
  await stage('package', () => run(process.execPath, ['scripts/package.mjs', '--out', vsix]));
  const common = [
    '--accept-server-license-terms',
    '--server-data-dir',
    data,
    '--extensions-dir',
    path.join(data, 'extensions'),
  ];
  const settings = path.join(data, 'data', 'Machine', 'settings.json');
  if (!existsSync(settings)) {
    mkdirSync(path.dirname(settings), { recursive: true });
    writeFileSync(
      settings,
      JSON.stringify({ 'telemetry.telemetryLevel': 'off', 'workbench.startupEditor': 'none' }, null, 2),
    );
  }
  run(server, [...common, '--install-extension', vsix, '--force'], { stdio: ['ignore', 'ignore', 'inherit'] });
  // Only this machine can reach it, so no token is asked for.
  const args = [
    ...common,
    '--host',
    '127.0.0.1',
    '--port',
    port,
    '--without-connection-token',
    '--telemetry-level',
    'off',
  ];
  const child = spawn(server, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, EXTENSIONS_GALLERY: '{"serviceUrl":""}' },
  });
  child.stdout.on('data', (data) => {
    const found = /Extension host agent listening on (\d+)/.exec(String(data))?.[1];
    if (found === undefined) return;
    console.log(`\nOpen  http://localhost:${found}/?folder=${workspace}\n`);
    console.log(
      'Then run "LR-QAT: Start Training" from the palette (F1). Ctrl-C here ends VS Code; a training goes on.',
    );
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => child.kill(signal));
  const code = await new Promise((resolve) => child.once('exit', resolve));
  if (code !== 0 && code !== null) throw new ScriptError(`VS Code's server ended with ${String(code)}`);
}

await main(async () => {
  const { values } = parseArgs({
    options: { browser: { type: 'boolean', default: false }, port: { type: 'string', default: '0' } },
  });
  await setup();
  await stage('sample workspace', sampleWorkspace);
  if (!values.browser && versionOf('code') !== null) openDesktop();
  else await openBrowser(values.port);
});
