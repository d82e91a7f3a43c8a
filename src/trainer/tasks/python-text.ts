// What Python's str does where JavaScript's String differs: lm-evaluation-harness is written in Python, and a likelihood is one of
// exactly these characters.

/** str.isspace: the blanks of Unicode, and the controls that separate files, groups, records, units and lines; not U+FEFF. */
const BLANK = '[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]';
const LEADING = new RegExp(`^${BLANK}+`);

/** str.strip() */
export function strip(text: string): string {
  return stripEnd(text.replace(LEADING, ''));
}

/** str.rstrip() */
export function stripEnd(text: string): string {
  let end = text.length;
  while (end > 0 && IS_BLANK.test(text.charAt(end - 1))) end--;
  return text.slice(0, end);
}

const IS_BLANK = new RegExp(BLANK);

/** re.sub(r'\[.*?\]', '', text): only a line feed ends what `.` matches. */
export function withoutBrackets(text: string): string {
  return text.replace(/\[[^\n]*?\]/g, '');
}

/** str.capitalize(): the first character in title case, the others in lower case. */
export function capitalize(text: string): string {
  const [first = ''] = text;
  // In the whole text, for a sigma that ends a word is written otherwise.
  return titleCase(first) + text.toLowerCase().slice(first.toLowerCase().length);
}

/** Letters that stand for two have a title case of their own. */
const DIGRAPHS = /^[\u01c4-\u01cc\u01f1-\u01f3]$/;
/** Georgian has capitals for whole words alone. */
const GEORGIAN = /^[\u10d0-\u10fa\u10fd-\u10ff]$/;
/** Greek vowels with an iota below, which becomes a letter in upper case alone. */
const IOTA_BELOW = /^[\u1f80-\u1faf\u1fb3\u1fbc\u1fc3\u1fcc\u1ff3\u1ffc]$/;
const LIGATURE = /^[\u00df\u0587\ufb00-\ufb06\ufb13-\ufb17]$/;

/** Of one character, by Unicode's UnicodeData.txt and SpecialCasing.txt. */
function titleCase(character: string): string {
  const upper = character.toUpperCase();
  if (DIGRAPHS.test(character)) return digraphTitle(character.charCodeAt(0));
  if (GEORGIAN.test(character)) return character;
  if (IOTA_BELOW.test(character)) return iotaTitle(character.charCodeAt(0));
  if (LIGATURE.test(character)) return upper.slice(0, 1) + upper.slice(1).toLowerCase();
  // The iota of other letters stays below the first.
  return /^[\u1fb2-\u1ff7]$/.test(character) && upper.length > 1 ? upper.replace(/\u0399$/, '\u0345') : upper;
}

/** Each comes three times, upper, title and lower case: the title case is in the middle. */
function digraphTitle(code: number): string {
  const first = code >= 0x1f1 ? 0x1f1 : 0x1c4;
  return String.fromCharCode(code - ((code - first) % 3) + 1);
}

function iotaTitle(code: number): string {
  return String.fromCharCode(code < 0x1fb0 ? code | 8 : (code & ~0xf) | 0xc);
}
