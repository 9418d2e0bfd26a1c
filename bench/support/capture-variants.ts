/** The ways of capturing that are measured beside each other, each installed in a database of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { until } from '../../test/support/until.js';
import { APPLICATION, type BenchServer, PROGRAMS } from './bench-server.js';
import { installSet } from './install-set.js';

export const VARIANTS = ['bare', 'shovel_row', 'shovel_statement', 'pgq', 'slony', 'logical'] as const;
export type Variant = (typeof VARIANTS)[number];

const TABLES = [
  'pgbench_accounts',
  'pgbench_branches',
  'pgbench_tellers',
  'pgbench_history',
  'bulk',
] as const;

export interface Installed {
  readonly stop: () => Promise<void>;
}

export async function installVariant(
  variant: Variant,
  { server, database, connection }: { server: BenchServer; database: string; connection: PostgresConnection },
): Promise<Installed> {
  switch (variant) {
    case 'bare':
      return NOTHING;
    case 'shovel_row':
    case 'shovel_statement':
      await installShovel(connection, variant === 'shovel_statement');
      return NOTHING;
    case 'pgq':
      await installPgq(connection, TABLES);
      return NOTHING;
    case 'slony':
      await installSlony(connection, TABLES);
      return NOTHING;
    case 'logical':
      return followLogically(connection, server.url(database));
  }
}

const NOTHING: Installed = { stop: async () => undefined };

async function onEach(
  connection: PostgresConnection,
  tables: readonly string[],
  statement: (table: string) => string,
): Promise<void> {
  for (const table of tables) await connection.script(`set search_path = public; ${statement(table)}`);
  await connection.script('set search_path = pg_catalog');
}

/** Its trigger function runs as the writer. */
export async function installPgq(connection: PostgresConnection, tables: readonly string[]): Promise<void> {
  await connection.script('set search_path = public; create extension pgq');
  await connection.query(`select pgq.create_queue('q')`);
  await connection.script(`grant usage on schema pgq to ${APPLICATION};
    grant select on all tables in schema pgq to ${APPLICATION};
    grant execute on all functions in schema pgq to ${APPLICATION}`);
  await onEach(
    connection,
    tables,
    (table) => `create trigger pgq after insert or update or delete on ${table} for each row
      execute function pgq.logutriga('q'${table === 'pgbench_history' ? `, 'pkey=tid'` : ''})`,
  );
}

async function installShovel(connection: PostgresConnection, statements: boolean): Promise<void> {
  // Nothing captures a table without a key by statement.
  const entry = (table: string) =>
    table === 'pgbench_history'
      ? `  - { name: public.${table}, key: none }`
      : `  - { name: public.${table}${statements ? ', capture: statement' : ''} }`;
  await installSet(connection, TABLES.map(entry).join('\n'));
}

/** A cluster of one node, with its log trigger on each table. */
export async function installSlony(connection: PostgresConnection, tables: readonly string[]): Promise<void> {
  await connection.script('create schema _c');
  for (const file of ['slony1_base.2.2.11.sql', 'slony1_funcs.2.2.11.sql']) {
    const text = await readFile(`/usr/share/slony1/${file}`, 'utf8');
    const filled = text
      .replaceAll('@NAMESPACE@', '_c')
      .replaceAll('@CLUSTERNAME@', 'c')
      .replaceAll('@FUNCVERSION@', '2_2_11_')
      .replaceAll('@MODULEVERSION@', '2.2.11');
    await connection.script(`set search_path = public; ${filled}`);
  }
  await connection.script(`set search_path = public; select _c.initializeLocalNode(1, 'bench')`);
  let number = 0;
  await onEach(connection, tables, (table) => {
    number += 1;
    const kind = table === 'pgbench_history' ? 'kkkkkk' : 'k';
    return `create trigger slony after insert or update or delete on ${table} for each row
      execute function _c.logTrigger('_c', '${number}', '${kind}')`;
  });
}

async function followLogically(connection: PostgresConnection, url: string): Promise<Installed> {
  await connection.script(
    `set search_path = public; create publication bench for table ${TABLES.join(', ')}; set search_path = pg_catalog`,
  );
  await connection.query(`select pg_create_logical_replication_slot('bench', 'pgoutput')`);
  const child: ChildProcess = spawn(
    `${PROGRAMS}/bin/pg_recvlogical`,
    [
      '-d',
      url,
      '-S',
      'bench',
      '--start',
      '-f',
      '/dev/null',
      '-o',
      'proto_version=1',
      '-o',
      'publication_names=bench',
    ],
    { stdio: 'ignore' },
  );
  await until('the slot is read', async () => {
    const rows = await connection.query(`select active from pg_replication_slots where slot_name = 'bench'`);
    return rows[0]?.active === 't';
  });
  return {
    stop: async () => {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGINT');
      await ended;
      await until('the slot is free', async () => {
        const rows = await connection.query(
          `select active from pg_replication_slots where slot_name = 'bench'`,
        );
        return rows[0]?.active === 'f';
      });
      await connection.script(`select pg_drop_replication_slot('bench'); drop publication bench`);
    },
  };
}
