// Makes a picture of a terminal from a command's real output: runs it in tmux, reads the finished screen with its colours and
// has Chromium draw it. For authors only; needs tmux and chromium.
//   node scripts/screenshot.mjs OUT.png [--columns 110] [--rows 40] [--from TEXT] [--until TEXT] -- COMMAND …
// --from TEXT   the picture begins with the last line that contains TEXT
// --until REGEX the picture is taken as soon as REGEX matches the screen instead of when the command ends
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { main, root, ScriptError, versionOf } from './lib.mjs';

const palette = ['#1e1e1e', '#f14c4c', '#23d18b', '#e5c07b', '#3b8eea', '#d670d6', '#29b8db', '#cccccc'];
const bright = ['#7f848e', '#ff7b72', '#3fe6a0', '#f5e06e', '#6cb6ff', '#e79cf0', '#5fd7ee', '#ffffff'];
const foreground = '#d4d4d4';
const background = '#1e1e1e';

const escapeHtml = (text) => text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);

/** Colour of the 256-colour palette beyond the first 16. */
function cube(index) {
  if (index < 8) return palette[index];
  if (index < 16) return bright[index - 8];
  const level = (v) => (v === 0 ? 0 : 55 + 40 * v);
  const i = index - 16;
  const rgb =
    i >= 216 ? Array(3).fill(8 + 10 * (i - 216)) : [Math.floor(i / 36), Math.floor(i / 6) % 6, i % 6].map(level);
  return `rgb(${rgb.join(',')})`;
}

/** One line with SGR escapes as HTML; `style` carries over from line to line as it does in a terminal. */
function lineToHtml(line, style) {
  let html = '';
  for (const [index, part] of line.split('\x1b[').entries()) {
    // Every part but the first begins with the rest of an escape: numbers and `m`.
    const end = index === 0 ? -1 : part.indexOf('m');
    const codes = index === 0 ? undefined : part.slice(0, end);
    const text = part.slice(end + 1);
    if (codes !== undefined) {
      const list = codes === '' ? [0] : codes.split(';').map(Number);
      for (let i = 0; i < list.length; ++i) {
        const code = list[i];
        if (code === 0) Object.assign(style, { color: foreground, back: '', bold: false, dim: false });
        else if (code === 1) style.bold = true;
        else if (code === 2) style.dim = true;
        else if (code === 22) Object.assign(style, { bold: false, dim: false });
        else if (code >= 30 && code <= 37) style.color = palette[code - 30];
        else if (code >= 90 && code <= 97) style.color = bright[code - 90];
        else if (code === 39) style.color = foreground;
        else if (code >= 40 && code <= 47) style.back = palette[code - 40];
        else if (code === 49) style.back = '';
        else if (code === 38 && list[i + 1] === 5) {
          style.color = cube(list[i + 2]);
          i += 2;
        }
      }
    }
    if (text === '') continue;
    const css = `color:${style.color};${style.back && `background:${style.back};`}${style.bold ? 'font-weight:bold;' : ''}${style.dim ? 'opacity:.65;' : ''}`;
    html += `<span style="${css}">${escapeHtml(text)}</span>`;
  }
  return html;
}

const tmux = (...args) => {
  const result = spawnSync('tmux', ['-L', `screenshot-${String(process.pid)}`, ...args], {
    cwd: root,
    encoding: 'utf8',
  });
  if (result.error) throw new ScriptError(`tmux: ${result.error.message}`);
  return result;
};

/** Screen of `command` when it ends, or when `until` appears. */
async function capture(command, { columns, rows, until }) {
  const ended = '__screenshot_ended__';
  // The shell prints the mark itself, so that the words of the command line do not count as the end.
  const script = `${command}; printf '\\n%s%s\\n' __screenshot _ended__; sleep 600`;
  tmux('new-session', '-d', '-x', String(columns), '-y', String(rows), '-s', 's', 'sh', '-c', script);
  tmux('set-option', '-t', 's', 'history-limit', '50000');
  try {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 250));
      const { stdout, status } = tmux('capture-pane', '-p', '-e', '-N', '-S', '-', '-t', 's');
      if (status !== 0) throw new ScriptError('the tmux session ended by itself');
      if (stdout.includes(ended) || (until && new RegExp(until).test(stdout))) return stdout.replace(ended, '');
    }
  } finally {
    tmux('kill-server');
  }
}

await main(async () => {
  const split = process.argv.indexOf('--');
  const { values, positionals } = parseArgs({
    args: process.argv.slice(2, split < 0 ? undefined : split),
    allowPositionals: true,
    options: {
      columns: { type: 'string', default: '110' },
      rows: { type: 'string', default: '40' },
      from: { type: 'string' },
      until: { type: 'string' },
    },
  });
  const [out] = positionals;
  const command = split < 0 ? '' : process.argv.slice(split + 1).join(' ');
  if (out === undefined || command === '')
    throw new ScriptError('usage: screenshot.mjs OUT.png [options] -- COMMAND …');
  const chromium = ['chromium', 'chromium-browser', 'google-chrome'].find((name) => versionOf(name) !== null);
  if (chromium === undefined || versionOf('tmux', ['-V']) === null)
    throw new ScriptError('tmux and chromium are needed');

  const columns = Number(values.columns);
  const screen = await capture(command, { columns, rows: Number(values.rows), until: values.until });
  let lines = screen
    .replace(/[ \n]+$/, '')
    .split('\n')
    .map((line) => line.trimEnd());
  if (values.from !== undefined)
    lines = lines.slice(
      Math.max(
        0,
        lines.findLastIndex((line) => line.includes(values.from)),
      ),
    );

  const style = { color: foreground, back: '', bold: false, dim: false };
  const body = lines.map((line) => lineToHtml(line, style)).join('\n');
  const lineHeight = 18;
  const width = Math.ceil(columns * 7.83) + 40;
  const height = lines.length * lineHeight + 40;
  const html = `<!doctype html><meta charset="utf-8"><body style="margin:0;background:${background}">
<pre style="margin:0;padding:20px;font:13px/${String(lineHeight)}px 'DejaVu Sans Mono',monospace;color:${foreground}">${body}</pre>`;

  const folder = mkdtempSync(path.join(os.tmpdir(), 'screenshot-'));
  try {
    const page = path.join(folder, 'screen.html');
    writeFileSync(page, html);
    const result = spawnSync(
      chromium,
      [
        '--headless',
        '--no-sandbox',
        '--hide-scrollbars',
        '--force-device-scale-factor=1.5',
        `--window-size=${String(width)},${String(height)}`,
        `--screenshot=${path.resolve(out)}`,
        `file://${page}`,
      ],
      { encoding: 'utf8' },
    );
    if (result.status !== 0) throw new ScriptError(`${chromium} failed:\n${result.stderr}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  console.log(`${out}: ${String(lines.length)} lines`);
});
