/**
 * An update that leaves a 12 kB column alone, on the newest PostgreSQL that npm brings, captured with and without
 * `unchanged_wide: omit`, beside the bare table's time in the same rounds. (writer-overhead measures it on the server that
 * the peers' triggers are built for.) Writes bench/results/wide-columns.json.
 *
 *   npm run bench -- wide-columns [--rounds 9]
 */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openConnection } from '../src/postgres/connect.js';
import { findPostgresBinaries } from '../src/postgres/embedded/binaries.js';
import { startEmbeddedPostgres } from '../src/postgres/embedded/embedded-postgres.js';
import { captureWide } from './support/wide-tables.js';

const { values: flags } = parseArgs({ options: { rounds: { type: 'string', default: '9' } } });

const parent = await mkdtemp(join(tmpdir(), 'shovel-bench-'));
// The server may run under another account.
await chmod(parent, 0o755);
const server = await startEmbeddedPostgres({
  binaries: findPostgresBinaries({ major: 18 }),
  directory: join(parent, 'server'),
  settings: {
    shared_buffers: '1GB',
    max_wal_size: '16GB',
    checkpoint_timeout: '1h',
    autovacuum: 'off',
    jit: 'off',
  },
});
try {
  const load = loadavg()[0];
  const connection = await openConnection({
    dsn: server.url,
    name: 'of the measurement',
    applicationName: 'bench',
  });
  const times = await captureWide(connection, Number(flags.rounds));
  const [version] = await connection.query('show server_version');
  await connection.end();
  const result = {
    command: `npm run bench -- wide-columns --rounds ${flags.rounds}`,
    machine: { cpus: cpus().length, model: cpus()[0]?.model, loadBefore: load },
    postgres: version?.server_version,
    timesBare: times,
  };
  await writeFile(
    new URL('./results/wide-columns.json', import.meta.url),
    `${JSON.stringify(result, null, 2)}\n`,
  );
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
} finally {
  await server.stop();
  await rm(parent, { recursive: true, force: true });
}
