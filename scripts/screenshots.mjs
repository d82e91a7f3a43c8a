// Pictures of the main screens in three themes under docs/images, from a real VS Code and real training runs.
import { main, run } from './lib.mjs';
import { prepare } from './vscode-tests.mjs';

await main(async () => {
  const env = await prepare();
  run(process.execPath, ['dist/e2e/screens.shots.mjs'], { env });
});
