/** Writes docs/set-file.schema.json, the JSON Schema of set files for editors, from the schema in the code. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setFileJsonSchema } from '../src/model/set-file-schema.js';

const path = fileURLToPath(new URL('../docs/set-file.schema.json', import.meta.url));
const biome = fileURLToPath(new URL('../node_modules/@biomejs/biome/bin/biome', import.meta.url));
writeFileSync(path, `${JSON.stringify(setFileJsonSchema(), null, 2)}\n`);
execFileSync(process.execPath, [biome, 'format', '--write', path]);
