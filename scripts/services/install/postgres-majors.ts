/**
 * Server programs of a PostgreSQL major version. The newest comes with the project's own packages; the others are a
 * package of their own (postgres/, with its lock file), installed into the user's cache when one is first asked for.
 */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UnreachableError } from '../../../src/errors.js';
import { serverAccount } from '../../../src/postgres/embedded/account.js';
import {
  findPostgresBinaries,
  type PostgresBinaries,
  preparePostgresBinaries,
} from '../../../src/postgres/embedded/binaries.js';
import { HERE, openFolder, type Site } from '../site.js';
import { findProgram, runTool, tail } from './command.js';
import type { Packages } from './debian.js';
import { fetchFolder } from './fetch-folder.js';

/** The major version of the main package.json. */
const BUNDLED = 18;

const CLIENTS = ['psql', 'pgbench', 'pg_dump', 'pg_basebackup'];

/** pgbench is part of Debian's server package, the others of its client package. */
export function clientPackages(site: Site): Packages[] {
  const missing = CLIENTS.filter((name) => findProgram(site, name) === undefined);
  const debian = missing.includes('pgbench') ? ['postgresql-client', 'postgresql'] : ['postgresql-client'];
  return missing.length === 0 ? [] : [{ what: missing.join(', '), debian, homebrew: ['postgresql@18'] }];
}

/**
 * Programs that the servers' account can run.
 * @throws UnreachableError `services_download_failed`, ConfigurationError `embedded_postgres_missing`, `…_broken`
 */
export async function postgresBinaries(site: Site, major: number): Promise<PostgresBinaries> {
  const from = major === BUNDLED ? join(HERE, 'main.ts') : join(await fetchMajors(site), 'package.json');
  const found = findPostgresBinaries({ major, from });
  const version = createHash('sha256').update(found.native).digest('hex').slice(0, 10);
  return preparePostgresBinaries(found, {
    account: serverAccount(),
    copyTo: join(openFolder(join(site.directory, 'programs')), `pg${major}-${version}`),
  });
}

async function fetchMajors(site: Site): Promise<string> {
  const source = join(HERE, 'postgres');
  const lockFile = readFileSync(join(source, 'package-lock.json'));
  return fetchFolder(site, {
    folder: join(site.cache, `postgres-${createHash('sha256').update(lockFile).digest('hex').slice(0, 10)}`),
    progress: 'fetching older PostgreSQL versions',
    fill: async (part) => {
      for (const file of ['package.json', 'package-lock.json', '.npmrc']) {
        await copyFile(join(source, file), join(part, file));
      }
      const outcome = await runTool('npm', { site, args: ['ci', '--ignore-scripts'], directory: part });
      if (outcome.code !== 0) {
        throw new UnreachableError(
          'services_download_failed',
          `npm could not fetch PostgreSQL: ${tail(outcome.output)}`,
          {
            hint: 'See that the npm registry can be reached, and call again.',
          },
        );
      }
    },
  });
}
