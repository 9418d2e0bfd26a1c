/** `npx tsx scripts/build-docs.ts`: writes the pages of docs/ that are made from the sources. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { cliPage } from './cli-page.js';
import { doctorPage } from './doctor-page.js';
import { errorsPage } from './errors-page.js';

const root = fileURLToPath(new URL('..', import.meta.url));
writeFileSync(`${root}docs/cli.md`, cliPage());
writeFileSync(`${root}docs/doctor.md`, doctorPage());
writeFileSync(`${root}docs/errors.md`, errorsPage(`${root}src`));
