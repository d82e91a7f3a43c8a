// Entry of the tests inside the extension host: VS Code calls `run` and takes its failure for that of all.
import Mocha from 'mocha';
import { commandTests } from './commands';
import { documentTests } from './documents';

export function run(): Promise<void> {
  const mocha = new Mocha({ ui: 'bdd', color: false, timeout: 90_000, reporter: 'spec' });
  mocha.suite.emit('pre-require', globalThis, 'index', mocha);
  commandTests();
  documentTests();
  return new Promise((resolve, reject) => {
    mocha.run((failures) => {
      if (failures > 0) reject(new Error(`${String(failures)} tests failed`));
      else resolve();
    });
  });
}
