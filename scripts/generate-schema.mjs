// Writes what is made from the experiment's schema: the schemas in media and docs/experiment-file.md.
import { build } from 'esbuild';
import { format, resolveConfig } from 'prettier';
import { writeFileSync } from 'node:fs';

const bundle = await build({
  entryPoints: ['src/experiment/reference.ts'],
  bundle: true,
  platform: 'node',
  format: 'esm',
  write: false,
  logLevel: 'warning',
});
const source = Buffer.from(bundle.outputFiles[0].contents).toString('base64');
const { completionSchema, jsonSchema, referencePage } = await import(`data:text/javascript;base64,${source}`);
for (const [filepath, text] of [
  ['media/experiment.schema.json', JSON.stringify(jsonSchema())],
  ['media/experiment.completion.schema.json', JSON.stringify(completionSchema())],
  ['docs/experiment-file.md', referencePage()],
]) {
  writeFileSync(filepath, await format(text, { ...(await resolveConfig(filepath)), filepath }));
  console.log(filepath);
}
