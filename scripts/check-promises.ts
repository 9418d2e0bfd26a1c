/** `npm run check:promises`: no promise in this project is dropped. Planted ones in test/fixtures are left out. */
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { droppedPromises } from './dropped-promises.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const config = ts.getParsedCommandLineOfConfigFile(`${root}tsconfig.json`, undefined, {
  ...ts.sys,
  onUnRecoverableConfigFileDiagnostic: (diagnostic) => {
    throw new Error(ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n'));
  },
});
if (config === undefined) throw new Error('tsconfig.json is missing');

const program = ts.createProgram(config.fileNames, config.options);
const files = config.fileNames.filter((file) => !relative(root, file).startsWith('test/fixtures/'));
const found = droppedPromises(program, files);
for (const { file, line, column, message } of found) {
  process.stderr.write(`${relative(root, file)}:${line}:${column}: ${message}\n`);
}
if (found.length > 0) process.exitCode = 1;
else process.stdout.write(`${files.length} files, no promise dropped\n`);
