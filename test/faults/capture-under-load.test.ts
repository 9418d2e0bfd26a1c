/**
 * A set over a hundred tables, a tree of two hundred partitions among them, is created, upgraded and dropped while an
 * application writes to all of them, locks some, keeps a transaction open and has its tables vacuumed: no deadlock, no
 * error, and nobody waits behind us for more than one attempt at a lock. The server looks for deadlocks after 10 ms, so
 * that it finds one before our own lock timeout would end it.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import { createSet } from '../../src/admin/create-set.js';
import { dropSet } from '../../src/admin/drop-set.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { openConnection } from '../../src/postgres/connect.js';
import {
  type AdminCluster,
  type Administrator,
  catalogOf,
  configurationOf,
  makeAdminCluster,
  type NodeDatabase,
  postgres,
} from '../support/admin-cluster.js';
import { type LockWatch, startLockWatch } from '../support/lock-watch.js';
import { LOAD_TABLES, PARTITIONS, QUIET_TABLE, startTableLoad, TABLES } from '../support/table-load.js';
import { until } from '../support/until.js';

const SETTINGS = {
  deadlock_timeout: '10ms',
  autovacuum_naptime: '1s',
  autovacuum_vacuum_threshold: '20',
  autovacuum_analyze_threshold: '20',
  autovacuum_vacuum_scale_factor: '0',
  autovacuum_analyze_scale_factor: '0',
  max_locks_per_transaction: '256',
};

describe.each([
  ['prepared, on the newest PostgreSQL', 'pg'],
  ['staged, on the oldest PostgreSQL', 'pg-no2pc'],
])('under load, %s', (_, kind) => {
  let server: EphemeralService;
  let cluster: AdminCluster;
  let admin: Administrator;
  let main: NodeDatabase;
  beforeAll(async () => {
    server = await startEphemeral(kind, { settings: SETTINGS });
    cluster = await makeAdminCluster(postgres);
    admin = await cluster.administrator({ giveUpMs: 120_000 });
    main = await cluster.database(LOAD_TABLES, { server: server.address });
  });
  afterAll(async () => {
    await cluster?.remove();
    await server?.close();
  });

  const configuration = (entry: string) => configurationOf({ databases: { main }, tables: [entry] });
  const deadlocks = () =>
    main.value('select pg_stat_get_db_deadlocks(oid) from pg_database where datname = current_database()');

  /** Holds a table open until attempts of ours have come and gone, each with a writer behind it. */
  async function holdTable(watch: LockWatch): Promise<void> {
    const long = await connect();
    await long.script(`begin; update ${QUIET_TABLE} set n = n + 1 where id = 9`);
    const behind = () => [...watch.waits.values()].filter((wait) => wait.table === `public.${QUIET_TABLE}`);
    await until('writers had to wait behind three attempts at one table', () => behind().length >= 3, {
      timeoutMs: 100_000,
    });
    await long.script('commit');
    await long.end();
  }

  function connect(): Promise<PostgresConnection> {
    return openConnection({
      dsn: main.url,
      name: 'of the application',
      applicationName: 'application',
      settings: { search_path: 'public' },
    });
  }

  /** As a monitoring system would: all the time, an error or two while there is no set is its normal life. */
  async function startMonitor(): Promise<{ readonly seen: number; stop(): Promise<void> }> {
    const session = await connect();
    let going = true;
    let seen = 0;
    const running = (async () => {
      while (going) {
        const rows = await session
          .query(`select * from ${cluster.names.schema}.mutation_log`)
          .catch(() => []);
        seen += rows.length;
      }
    })();
    return {
      get seen() {
        return seen;
      },
      async stop() {
        going = false;
        await running;
        await session.end();
      },
    };
  }

  it(`creates, upgrades and drops a set over ${TABLES} tables and ${PARTITIONS} partitions`, async () => {
    const before = await catalogOf(main);
    const deadlocksBefore = await deadlocks();
    const load = await startTableLoad({ url: main.url });
    const monitor = await startMonitor();
    const watch = await startLockWatch({ url: main.url, ours: 'shovel admin' });
    const plain = { wait: true, dryRun: false } as const;
    try {
      const long = holdTable(watch);
      await createSet(admin.context, { configuration: configuration('name: public.*'), ...plain });
      await long;
      const captured = () =>
        main.value(`select count(distinct rel) from ${cluster.names.schema}.log_example`);
      await until('every table was captured', async () => Number(await captured()) === TABLES, {
        timeoutMs: 60_000,
      });
      await upgradeSet(admin.context, {
        configuration: configuration('name: public.*, operations: [insert, truncate]'),
        ...plain,
      });
      await upgradeSet(admin.context, {
        configuration: configuration('name: public.*, before: full'),
        ...plain,
      });
      await dropSet(admin.context, { name: 'example', force: false, dryRun: false });
    } finally {
      await load.stop();
      await monitor.stop();
      await watch.stop();
    }
    expect(load.failures).toEqual([]);
    expect(await deadlocks()).toBe(deadlocksBefore);
    expect(load.transactions).toBeGreaterThan(100);
    expect(monitor.seen).toBeGreaterThan(0);
    const waits = [...watch.waits.values()];
    expect(waits.length).toBeGreaterThanOrEqual(3);
    expect(waits.filter((wait) => wait.attempts.size > 1)).toEqual([]);
    expect([...watch.attempts.values()].filter((places) => places.size > 1)).toEqual([]);
    expect(watch.idleHolds).toEqual([]);
    expect(await catalogOf(main)).toBe(before);
  }, 300_000);
});
