// A reporter for node:test that names each failed test file on a line of its own.
import path from 'node:path';

export default async function* failedFiles(source) {
  const seen = new Set();
  for await (const { type, data } of source) {
    if (type !== 'test:fail') continue;
    // A file that ends by itself, hangs or cannot be loaded fails as a test of the file's own name.
    const file = path.resolve(data.file ?? data.name);
    if (seen.has(file)) continue;
    seen.add(file);
    yield `${file}\n`;
  }
}
