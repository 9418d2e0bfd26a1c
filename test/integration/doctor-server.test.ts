/**
 * What doctor finds in a server beside the sets themselves: who holds back vacuum and trimming, and who can't dump. Each
 * for real, in servers of the test's own.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import { createSet } from '../../src/admin/create-set.js';
import { type Diagnosis, runDoctor } from '../../src/admin/doctor/doctor.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import {
  type AdminCluster,
  type Administrator,
  configurationOf,
  makeAdminCluster,
  type NodeDatabase,
  zooKeeper,
} from '../support/admin-cluster.js';
import { copyServer } from '../support/copy-server.js';
import { until } from '../support/until.js';

const THRESHOLDS = { transactionMs: 0, xmins: 20 };

describe('a server', () => {
  let server: EphemeralService;
  let cluster: AdminCluster;
  let admin: Administrator;
  let main: NodeDatabase;
  beforeAll(async () => {
    server = await startEphemeral('pg', { settings: { autovacuum: 'off' } });
    cluster = await makeAdminCluster(zooKeeper);
    admin = await cluster.administrator();
    main = await cluster.database('create table accounts (id int primary key, owner text)', {
      server: server.address,
    });
    await createSet(admin.context, {
      configuration: configurationOf({ databases: { main } }),
      wait: true,
      dryRun: false,
    });
  });
  afterAll(async () => {
    await cluster?.remove();
    await server?.close();
  });

  const examine = (): Promise<Diagnosis> => runDoctor(admin.context, { thresholds: THRESHOLDS });
  const findings = async (code: string) => (await examine()).findings.filter((one) => one.code === code);
  const connect = (url = main.url): Promise<PostgresConnection> =>
    openConnection({ dsn: url, name: 'of the test', applicationName: 'payroll' });
  const transactions = async (count: number) => {
    for (let each = 0; each < count; each += 1) await main.connection.query('select pg_current_xact_id()');
  };

  it('without autovacuum is told', async () => {
    expect(await findings('autovacuum_off')).toMatchObject([
      { severity: 'warning', object: 'database main' },
    ]);
  });

  it('that keeps somebody’s prepared transaction: which, for how long, and how to end it', async () => {
    expect(await findings('prepared_open_long')).toEqual([]);
    await main.connection.script(
      `begin; insert into accounts values (1, 'x'); prepare transaction 'it''s payroll'`,
    );
    const [found, ...more] = await findings('prepared_open_long');
    expect(more).toEqual([]);
    expect(found).toMatchObject({ severity: 'warning', object: `database ${main.name}` });
    const statement = /rollback prepared .*$/.exec(found?.fix ?? '')?.[0] ?? '';
    await main.connection.script(statement);
    expect(await findings('prepared_open_long')).toEqual([]);
  });

  it('that keeps what a replication slot has not read', async () => {
    await main.connection.query(`select pg_create_logical_replication_slot('late', 'pgoutput')`);
    expect(await findings('slot_holds_xmin')).toEqual([]);
    await transactions(THRESHOLDS.xmins);
    const [found, ...more] = await findings('slot_holds_xmin');
    expect(more).toEqual([]);
    expect(found).toMatchObject({
      severity: 'warning',
      object: 'slot late',
      message: expect.stringContaining('(not active)'),
    });
    await main.connection.script(/select pg_drop_replication_slot.*$/.exec(found?.fix ?? '')?.[0] ?? '');
    expect(await findings('slot_holds_xmin')).toEqual([]);
  });

  it('whose tables belong to a role that may not read our schema, and so can’t dump it', async () => {
    expect(await findings('dump_needs_exclusion')).toEqual([]);
    await main.connection.script('create role "App" login; alter table accounts owner to "App"');
    expect(await findings('dump_needs_exclusion')).toMatchObject([
      {
        severity: 'info',
        object: 'database main',
        message: expect.stringMatching(/^App may not read/),
        fix: `pg_dump -N ${cluster.names.schema} …`,
      },
    ]);
    await main.connection.script(`grant usage on schema ${cluster.names.schema} to "App"`);
    expect(await findings('dump_needs_exclusion')).toEqual([]);
  });

  it('that lacks a membership of our roles', async () => {
    expect(await findings('roles_incomplete')).toEqual([]);
    const { owner, capture } = cluster.names;
    await main.connection.script(`revoke "${capture}" from "${owner}"`);
    const [found, ...more] = await findings('roles_incomplete');
    expect(more).toEqual([]);
    expect(found?.severity).toBe('error');
    await main.connection.script(found?.fix ?? '');
    expect(await findings('roles_incomplete')).toEqual([]);
  });

  it('whose standby has a long query', { timeout: 180_000 }, async () => {
    const { hostname, port, username } = new URL(server.address);
    const primary = `host=${hostname} port=${port} user=${username} application_name=reports`;
    for (const setting of [
      `primary_conninfo = '${primary}'`,
      'hot_standby_feedback = on',
      'wal_receiver_status_interval = 1',
    ]) {
      await main.connection.script(`alter system set ${setting}`);
    }
    const standby = await startEphemeral('pg');
    try {
      await main.connection.end();
      await copyServer({ from: server, to: standby, standby: true });
      const writer = await connect();
      const reader = await connect(new URL(new URL(main.url).pathname, standby.address).href);
      try {
        await reader.script('begin isolation level repeatable read; select from public.accounts');
        await until('the primary is told', async () => {
          await writer.query('select pg_current_xact_id()');
          return (await findings('standby_holds_xmin'))[0];
        });
        const [found] = await findings('standby_holds_xmin');
        expect(found).toMatchObject({ severity: 'warning', object: 'standby reports' });
        await reader.script('rollback');
        await until('it is let go', async () => (await findings('standby_holds_xmin')).length === 0);
      } finally {
        await reader.end();
        await writer.end();
      }
    } finally {
      await standby.close();
    }
  });
});
