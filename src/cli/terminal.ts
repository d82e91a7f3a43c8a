// Where output goes: what the stream can show (colours, width, redrawing), with NO_COLOR and FORCE_COLOR respected.

const CODES = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
} as const;
export type Style = keyof typeof CODES;

export interface Terminal {
  /** Lines can be redrawn. */
  readonly interactive: boolean;
  /** Columns; Infinity for files and pipes. */
  width(): number;
  paint(style: Style, text: string): string;
  write(text: string): void;
  line(text?: string): void;
}

export function terminalFor(stream: NodeJS.WriteStream): Terminal {
  // Undefined for files and pipes, whatever its type says.
  const isTerminal: boolean = stream.isTTY;
  const colours = isTerminal ? stream.hasColors() : isForced(process.env.FORCE_COLOR);
  return {
    interactive: isTerminal && process.env.TERM !== 'dumb',
    width: () => (isTerminal && stream.columns > 0 ? stream.columns : Infinity),
    paint: (style, text) => {
      if (!colours) return text;
      const [on, off] = CODES[style];
      return `\u001b[${String(on)}m${text}\u001b[${String(off)}m`;
    },
    write: (text) => void stream.write(isTerminal ? harmless(text) : text),
    line: (text = '') => void stream.write(`${isTerminal ? harmless(text) : text}\n`),
  };
}

/** What must not reach a terminal from a file: all but colours, tabs and ends of lines (those of CSV have a carriage return). */
// eslint-disable-next-line no-control-regex -- these are what is looked for
const COMMANDS = /\u001b(?!\[\d{1,2}m)|\r(?!\n)|[\u0000-\u0008\u000b\u000c\u000e-\u001a\u001c-\u001f\u007f-\u009f]/g;

/** Shows what a name, a note or an error message of a run's files could make a terminal do. */
function harmless(text: string): string {
  return text.replace(COMMANDS, '\ufffd');
}

function isForced(value: string | undefined): boolean {
  return value !== undefined && value !== '' && value !== '0' && (process.env.NO_COLOR ?? '') === '';
}
