/** The tests' own database: empty, apart from others', gone at the end, kept after a failure. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { startEphemeral } from '../../scripts/services/index.js';
import { openConnection } from '../../src/postgres/connect.js';
import { createTestDatabase, testPgNo2pcUrl, testPgUrl } from '../support/services.js';

const connect = (dsn: string) =>
  openConnection({ dsn, name: 'of the tests', applicationName: 'shovel-test' });

async function exists(name: string, server: string): Promise<boolean> {
  const connection = await connect(server);
  try {
    return (await connection.query('select 1 from pg_database where datname = $1', [name])).length === 1;
  } finally {
    await connection.end();
  }
}

describe('createTestDatabase', () => {
  it('makes an empty database named after the file, and drops it with all that hangs on it', async () => {
    // On a server of its own: making a slot waits for the end of everybody's transactions, prepared ones too.
    const service = await startEphemeral('pg');
    const database = await createTestDatabase({ server: service.address });
    expect(database.name).toMatch(/^test_test_database_[0-9a-f]{8}$/);
    const connection = await connect(database.url);
    await connection.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [database.name]);
    await connection.script('create table public.t (id int)');
    await connection.script("begin; insert into public.t values (1); prepare transaction 'hangs''on'");
    await database.drop();
    await database.drop();
    expect(await exists(database.name, service.address)).toBe(false);
    await connection.end().catch(() => undefined);
    await service.close();
  });

  it('makes one on another server', async () => {
    const database = await createTestDatabase({ server: testPgNo2pcUrl() });
    const connection = await connect(database.url);
    const rows = await connection.query('select current_database() as name');
    await connection.end();
    await database.drop();
    expect(rows).toEqual([{ name: database.name }]);
  });
});

describe('a file with a test that fails', () => {
  it('keeps its database and prints the name', async () => {
    const config = fileURLToPath(new URL('../fixtures/failing-file/vitest.config.ts', import.meta.url));
    const vitest = fileURLToPath(new URL('../../node_modules/vitest/vitest.mjs', import.meta.url));
    const run = spawnSync(process.execPath, [vitest, 'run', '--config', config], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, TEST_PG_URL: testPgUrl() },
    });
    const output = run.stdout + run.stderr;
    const name = /kept for you to look at: database (test_failing_[0-9a-f]{8})/.exec(output)?.[1] ?? output;
    expect(run.status).toBe(1);
    expect(await exists(name, testPgUrl())).toBe(true);
    await dropDatabase(name);
    expect(output).toMatch(/1 failed.*1 passed/);
  });
});

async function dropDatabase(name: string): Promise<void> {
  const connection = await connect(testPgUrl());
  await connection.script(`drop database ${name}`);
  await connection.end();
}
