/**
 * A fresh, empty database for a test file, dropped at its end whatever still hangs on it; kept, and its name printed,
 * when a test of the file has failed.
 */

import { randomBytes } from 'node:crypto';
import { basename } from 'node:path';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';

export interface TestDatabase {
  /** Superuser's URL. */
  readonly url: string;
  readonly name: string;
  /** Call it in `afterAll`. Ends connections, prepared transactions and slots. May be called twice. */
  drop(): Promise<void>;
}

/** `server`: a superuser's URL. */
export async function makeTestDatabase(server: string): Promise<TestDatabase> {
  const file = currentFile();
  const name = `test_${slug(file)}_${randomBytes(4).toString('hex')}`;
  await onServer(server, (connection) => connection.script(`create database ${name} template template0`));
  const url = new URL(server);
  url.pathname = `/${name}`;
  let dropped = false;
  return {
    url: url.href,
    name,
    drop: async () => {
      if (dropped) return;
      dropped = true;
      if (hasFailed(currentFile())) {
        process.stderr.write(`kept for you to look at: database ${name}\n`);
        return;
      }
      await dropDatabase(url.href, { server, name });
    },
  };
}

async function dropDatabase(
  url: string,
  { server, name }: { readonly server: string; readonly name: string },
): Promise<void> {
  await onServer(url, async (connection) => {
    const prepared = await connection.query(
      'select gid from pg_prepared_xacts where database = current_database()',
    );
    for (const { gid } of prepared) await connection.script(`rollback prepared ${quote(gid ?? '')}`);
  });
  await onServer(server, async (connection) => {
    await connection.query(
      'select pg_terminate_backend(active_pid, 5000) from pg_replication_slots where database = $1',
      [name],
    );
    await connection.query(
      'select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = $1',
      [name],
    );
    await connection.script(`drop database if exists ${name} with (force)`);
  });
}

async function onServer(
  url: string,
  use: (connection: PostgresConnection) => Promise<unknown>,
): Promise<void> {
  const connection = await openConnection({ dsn: url, name: 'of the tests', applicationName: 'shovel-test' });
  try {
    await use(connection);
  } finally {
    await connection.end();
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** What stands in a database's name: `relay-draw.test.ts` → `relay_draw`. */
function slug(file: unknown): string {
  const path = property(file, 'filepath');
  const name = typeof path === 'string' ? basename(path).replace(/\.(test|check)\.\w+$/, '') : 'none';
  return name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '_')
    .slice(0, 40);
}

/** The test file that runs in this worker, in vitest's own words, also from a hook: there is no public way to it. */
function currentFile(): unknown {
  const current = property(property(globalThis, '__vitest_worker__'), 'current');
  return property(current, 'file') ?? current;
}

/** Whether a test or hook of the task, or of a task in it, has failed so far. */
function hasFailed(task: unknown): boolean {
  const result = property(task, 'result');
  const errors = property(result, 'errors');
  if (property(result, 'state') === 'fail' || (Array.isArray(errors) && errors.length > 0)) return true;
  const tasks = property(task, 'tasks');
  return Array.isArray(tasks) && tasks.some(hasFailed);
}

function property(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}
