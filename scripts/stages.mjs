// The stages of a long run as processes beside one another: each starts as soon as the stages that it builds on have ended, its
// output is shown whole when it has ended, and what became of one keeps no other from running that does not need it.
import { spawn } from 'node:child_process';
import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from './lib.mjs';

/**
 * @typedef {object} Stage
 * @property {string} name
 * @property {string[]} script a script of this folder with its arguments
 * @property {string[]} [needs] stages that must have succeeded; without them this one counts as failed and is not run
 * @property {string[]} [after] stages that must have ended, well or not
 * @property {number} [nice] 0 (default) to 19: how far it stands back where processors are short
 */

/** How a script says what the list of stages shall say about it. */
const NOTE = /^note: (.*)$/gm;
const LOOK_MS = 200;
/** Ctrl-C, and what ends a job from outside. */
const STOPS = ['SIGINT', 'SIGTERM'];

/** A file that a process writes to, shown from where the last look ended. No pipe: a process that a stage leaves behind would keep
 *  it open. */
class Output {
  #shown = 0;
  #end = '';

  constructor(file) {
    this.file = openSync(file, 'w+');
  }

  show() {
    const chunk = Buffer.alloc(fstatSync(this.file).size - this.#shown);
    const read = chunk.length === 0 ? 0 : readSync(this.file, chunk, 0, chunk.length, this.#shown);
    this.#shown += read;
    this.#end = (this.#end + chunk.toString('utf8', 0, read)).slice(-4096);
    process.stdout.write(chunk.subarray(0, read));
  }

  /** Shows the rest and closes. @returns the note of the script, or '' */
  finish() {
    this.show();
    closeSync(this.file);
    return [...this.#end.matchAll(NOTE)].at(-1)?.[1] ?? '';
  }
}

const secondsSince = (begin) => ((performance.now() - begin) / 1000).toFixed(1);

/** @returns the process and a promise of how long it took and how it failed, if it did */
function start({ script: [file = '', ...args], nice = 0 }, output) {
  const begin = performance.now();
  const child = spawn(process.execPath, [path.join('scripts', file), ...args], {
    cwd: root,
    stdio: ['ignore', output.file, output.file],
    // Colours as if the terminal were the script's own.
    env: { ...process.env, ...(process.stdout.isTTY ? { FORCE_COLOR: '1' } : {}) },
  });
  try {
    if (nice > 0 && child.pid !== undefined) os.setPriority(child.pid, Math.min(19, os.getPriority() + nice));
  } catch {
    // It has ended already.
  }
  const end = new Promise((resolve) => {
    const ends = (failure) => resolve({ seconds: secondsSince(begin), failure });
    child.once('error', (error) => ends(error.message));
    child.once('exit', (code, signal) => {
      ends(code === 0 ? null : signal === null ? `exited with ${String(code)}` : `was ended by ${signal}`);
    });
  });
  return { child, end };
}

/** Runs all stages and prints what they print. The last one's output comes last, after a list of how long the others took, and live.
 *  @param {Stage[]} stages each behind those that it names
 *  @returns {Promise<string[]>} names of the stages that failed, or for want of others were not run */
export async function runStages(stages) {
  const scratch = mkdtempSync(path.join(os.tmpdir(), 'lrqat-stages-'));
  const begin = performance.now();
  const ended = new Map();
  /** What runs and is yet to be shown. */
  const running = new Map();
  const stop = (_, number) => {
    for (const [name, { child, output }] of running) {
      console.log(`\n── ${name}: stopped`);
      output.finish();
      child.kill();
    }
    rmSync(scratch, { recursive: true, force: true });
    process.exit(128 + number);
  };
  for (const signal of STOPS) process.once(signal, stop);

  const perform = async (stage) => {
    const { name, needs = [], after = [] } = stage;
    const others = stages.slice(0, -1).map((other) => ended.get(other.name));
    const isLast = stage === stages.at(-1);
    const needed = await Promise.all(needs.map((other) => ended.get(other)));
    await Promise.all(after.map((other) => ended.get(other)));
    const missing = needed.filter(({ failed }) => failed).map((other) => other.name);
    if (missing.length > 0) {
      const result = { name, failed: true, seconds: '', note: `NOT RUN for want of: ${missing.join(', ')}` };
      if (isLast) printTimes(await Promise.all(others), begin);
      console.log(`\n── ${name}: ${result.note}`);
      return result;
    }
    console.log(`── after ${secondsSince(begin)} s starts: ${name}`);
    const output = new Output(path.join(scratch, String(stages.indexOf(stage))));
    const { child, end } = start(stage, output);
    running.set(name, { child, output });
    if (isLast) {
      printTimes(await Promise.all(others), begin);
      console.log(`\n── ${name}`);
      while ((await Promise.race([end, sleep(LOOK_MS, null)])) === null) output.show();
    }
    const { seconds, failure } = await end;
    running.delete(name);
    if (!isLast) console.log(`\n── ${name}`);
    const note = [failure === null ? '' : 'FAILED', output.finish()].filter((text) => text !== '').join('; ');
    if (failure !== null) console.log(`${stage.script.join(' ')} ${failure}`);
    if (!isLast) console.log(`── ${name}: ${failure === null ? '' : 'FAILED after '}${seconds} s`);
    return { name, failed: failure !== null, seconds, note };
  };

  try {
    for (const stage of stages) ended.set(stage.name, perform(stage));
    const results = await Promise.all(ended.values());
    return results.filter(({ failed }) => failed).map(({ name }) => name);
  } finally {
    for (const signal of STOPS) process.off(signal, stop);
    rmSync(scratch, { recursive: true, force: true });
  }
}

function printTimes(results, begin) {
  console.log('\nstage times, of stages that share the processors');
  for (const { name, seconds, note } of results) {
    console.log(`  ${seconds.padStart(7)} ${seconds === '' ? ' ' : 's'}  ${name}${note === '' ? '' : `  (${note})`}`);
  }
  console.log(`  ${secondsSince(begin).padStart(7)} s  so far`);
}
