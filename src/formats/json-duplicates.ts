// JSON.parse keeps the last of two equal keys and says nothing; where a file's keys are offsets into memory that is not enough.
import { createScanner } from 'jsonc-parser';

/** The first key that an object of a JSON text has twice, or null. `text` must have passed JSON.parse: then a scan of its tokens
 *  with a stack of key sets is enough, and no depth of nesting can exhaust ours. */
export function firstDuplicateKey(text: string): string | null {
  const scanner = createScanner(text, true);
  // One set for each open object, null for each open array.
  const open: (Set<string> | null)[] = [];
  let expectKey = false;
  for (scanner.scan(); scanner.getTokenOffset() < text.length; scanner.scan()) {
    switch (text[scanner.getTokenOffset()]) {
      case '{':
        open.push(new Set());
        expectKey = true;
        break;
      case '[':
        open.push(null);
        expectKey = false;
        break;
      case '}':
      case ']':
        open.pop();
        expectKey = false;
        break;
      case ',':
        expectKey = open.at(-1) instanceof Set;
        break;
      case '"': {
        if (!expectKey) break;
        expectKey = false;
        const key = scanner.getTokenValue();
        const keys = open.at(-1);
        if (keys?.has(key) === true) return key;
        keys?.add(key);
        break;
      }
      default:
    }
  }
  return null;
}
