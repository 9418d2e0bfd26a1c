/**
 * PostgreSQL for tests. It syncs to disk like a real one, because crash tests need the truth. Anybody on this machine
 * gets in without a password: tests make roles of their own all the time.
 */

import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { serverAccount } from '../../../src/postgres/embedded/account.js';
import type { PostgresBinaries } from '../../../src/postgres/embedded/binaries.js';
import { initializeCluster, serverProgram } from '../../../src/postgres/embedded/cluster.js';
import { probePort } from '../probe.js';
import type { Recipe } from './recipe.js';

const SETTINGS = {
  wal_level: 'logical',
  max_connections: '200',
  max_prepared_transactions: '64',
  fsync: 'on',
  shared_buffers: '64MB',
  log_line_prefix: '%m [%p] %u@%d ',
};

export function postgresRecipe(binaries: PostgresBinaries): Recipe {
  return {
    plan: async (directory, { ports: [port = 0], settings, signal }) => {
      const account = serverAccount();
      const data = join(directory, 'data');
      await removeWorkshops(directory);
      await initializeCluster(data, { binaries, account, authentication: { kind: 'trust' }, signal });
      // Left by a server that was killed. It names a process; whoever has that number now is not this one.
      await rm(join(data, 'postmaster.pid'), { force: true });
      return [
        {
          name: 'member-1',
          program: serverProgram(data, { binaries, account, port, settings: { ...SETTINGS, ...settings } }),
          log: join(directory, 'server.log'),
          probe: () => probePort('postgres', port),
        },
      ];
    },
  };
}

/** What an initdb that was killed left behind. */
async function removeWorkshops(directory: string): Promise<void> {
  if (!existsSync(directory)) return;
  for (const name of await readdir(directory)) {
    if (name.startsWith('initdb-')) await rm(join(directory, name), { recursive: true, force: true });
  }
}
