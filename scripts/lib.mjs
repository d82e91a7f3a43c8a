// What the scripts share: running commands, timing stages, locks and stamps. Plain Node, no dependencies: setup runs before
// `npm ci`.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** A failure whose message says all there is to say: printed without a stack. */
export class ScriptError extends Error {}

/** Runs a command in the repository root with its output shown; throws when it fails. */
export function run(command, args, options = {}) {
  const { env, ...rest } = options;
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    ...rest,
    env: { ...process.env, ...env },
  });
  if (result.error) throw new ScriptError(`${command}: ${result.error.message}`);
  if (result.status !== 0) {
    const how = result.signal ? `was ended by ${result.signal}` : `exited with ${String(result.status)}`;
    throw new ScriptError(`${[command, ...args].join(' ')} ${how}`);
  }
}

/** Runs a JavaScript file of an installed package with this Node, whatever the platform's shims are called. */
export function runModule(file, args, options) {
  const full = path.join(root, 'node_modules', file);
  if (!existsSync(full)) throw new ScriptError(`node_modules/${file} is missing: run \`npm run setup\` first`);
  run(process.execPath, [full, ...args], options);
}

/** First line that a command prints, or null where it cannot be run. */
export function versionOf(command, args = ['--version']) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  return result.error || result.status !== 0 ? null : (result.stdout.split('\n')[0] ?? '').trim();
}

const stages = [];

/** Runs one stage and prints how long it took. A failed stage is printed as failed and rethrown. */
export async function stage(name, body) {
  const start = performance.now();
  const seconds = () => ((performance.now() - start) / 1000).toFixed(1);
  console.log(`\n── ${name}`);
  try {
    const note = await body();
    stages.push({ name, seconds: seconds(), note: typeof note === 'string' ? note : '' });
    console.log(`── ${name}: ${seconds()} s${typeof note === 'string' ? ` (${note})` : ''}`);
  } catch (error) {
    stages.push({ name, seconds: seconds(), note: 'FAILED' });
    console.log(`── ${name}: FAILED after ${seconds()} s`);
    throw error;
  }
}

/** One line a stage, for the end of a long run. */
export function printStages() {
  console.log('\nstage times');
  for (const { name, seconds, note } of stages) {
    console.log(`  ${seconds.padStart(7)} s  ${name}${note ? `  (${note})` : ''}`);
  }
}

/** Top level of a script: a ScriptError is its message, anything else its stack; both end the process with 1. */
export async function main(body) {
  try {
    await body();
  } catch (error) {
    console.error(error instanceof ScriptError ? `\n${error.message}` : error);
    process.exitCode = 1;
  }
}

/** SHA-256 over the contents of files, by name. */
export function hashFiles(files) {
  const hash = createHash('sha256');
  for (const file of files) {
    hash
      .update(file)
      .update('\0')
      .update(readFileSync(path.join(root, file)))
      .update('\0');
  }
  return hash.digest('hex');
}

export const readStamp = (file) => (existsSync(file) ? readFileSync(file, 'utf8').trim() : null);

export function writeStamp(file, value) {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `${value}\n`);
}

const alive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
};

/** Holds `folder` as a lock while `body` runs, so that two builds of one folder do not meet. A lock whose owner is dead is
 *  taken over. */
export async function withLock(folder, body) {
  const owner = path.join(folder, 'pid');
  let told = false;
  mkdirSync(path.dirname(folder), { recursive: true });
  for (;;) {
    try {
      mkdirSync(folder);
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const pid = Number(readStamp(owner) ?? 0);
    if (pid > 0 && !alive(pid)) {
      rmSync(folder, { recursive: true, force: true });
      continue;
    }
    if (!told) console.log(`waiting for another build${pid > 0 ? ` (process ${String(pid)})` : ''} to end …`);
    told = true;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  writeFileSync(owner, String(process.pid));
  const release = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', release);
  try {
    return await body();
  } finally {
    process.off('exit', release);
    release();
  }
}
