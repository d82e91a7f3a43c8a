// Pictures of the main screens in three themes under docs/images, from a real VS Code and real training runs.
import { main, root, run } from './lib.mjs';
import { prepare } from './vscode-tests.mjs';

await main(async () => {
  const env = await prepare();
  const { globSync } = await import('tinyglobby');
  for (const file of globSync(['dist/e2e/*.shots.mjs'], { cwd: root }).sort()) run(process.execPath, [file], { env });
});
