/** `npm run bench -- NAME [OPTIONS]`: runs one of the benchmarks beside this file. Each says what it measures. */
import { readdirSync } from 'node:fs';

const names = readdirSync(new URL('.', import.meta.url))
  .filter((file) => file.endsWith('.ts') && file !== 'main.ts')
  .map((file) => file.slice(0, -3));
const [name = '', ...options] = process.argv.slice(2);
if (names.includes(name)) {
  // A benchmark reads its options as if it had been started itself.
  process.argv = [...process.argv.slice(0, 2), ...options];
  await import(new URL(`${name}.ts`, import.meta.url).href);
} else {
  process.stderr.write(
    `error: ${name === '' ? 'Which benchmark?' : `No benchmark ${name}.`}\nhint:  One of ${names.join(', ')}.\n`,
  );
  process.exitCode = 2;
}
