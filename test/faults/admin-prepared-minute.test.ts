/**
 * A transaction of ours that stays prepared: an administrator hangs for a minute, and then dies, after two of three
 * databases have prepared and before anything is decided. It is as if nothing had happened: applications write to every
 * captured table, tickets are drawn and published, in all three databases.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildCli } from '../support/cli.js';
import { KilledCluster } from '../support/killed-cluster.js';
import { testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

/** How long it stays prepared at least, and what has to happen meanwhile however long that takes. */
const PREPARED_S = 60;
const TICKETS = 20;
const WRITES = 100;

describe('a transaction that stays prepared', () => {
  let cluster: KilledCluster;
  beforeAll(async () => {
    await buildCli();
    cluster = await KilledCluster.make({ server: testPgUrl() });
  });
  afterAll(() => cluster?.remove());

  it('blocks no writer and no relay', async () => {
    await cluster.succeed(cluster.args('create'));
    expect(await cluster.checkConverged('created', ['none', 'one'])).toBe('one');
    const relay = cluster.start(['relay', 'example']);
    await until('the relay publishes from everywhere', () => cluster.tickets().every((ticket) => ticket > 0));

    const admin = cluster.start(cluster.args('upgrade'), 'prepare.eu.after:pause');
    await until('two databases have prepared', () => admin.stderr().includes('paused at prepare.eu.after'));
    expect(await prepared()).toHaveLength(2);
    const before = { tickets: cluster.tickets(), writes: cluster.writes() };
    const grown = (now: readonly number[], then: readonly number[], by: number) =>
      now.every((one, index) => one >= (then[index] ?? 0) + by);
    const goesOn = async (least: { tickets: number; writes: number }) =>
      until(
        'tickets are published and all tables written',
        () => {
          if (relay.child.exitCode !== null) throw new Error(`the relay ended: ${relay.stderr()}`);
          return (
            grown(cluster.tickets(), before.tickets, least.tickets) &&
            grown(cluster.writes(), before.writes, least.writes)
          );
        },
        { timeoutMs: 180_000 },
      );
    await goesOn({ tickets: TICKETS, writes: WRITES });
    await until('they were prepared for a minute', async () => Math.min(...(await prepared())) > PREPARED_S, {
      timeoutMs: 180_000,
      everyMs: 250,
    });
    expect(await prepared()).toHaveLength(2);
    admin.child.kill('SIGKILL');
    expect(await admin.done).toMatchObject({ signal: 'SIGKILL' });
    await goesOn({ tickets: 2 * TICKETS, writes: 2 * WRITES });

    cluster.leave();
    await cluster.succeed(['cluster', 'recover']);
    expect(await cluster.checkConverged('recovered', ['one', 'one'])).toBe('one');
    relay.child.kill('SIGTERM');
    expect(await relay.done).toMatchObject({ code: 0 });
    cluster.leave();
    await cluster.publish();
    expect(cluster.audit('after a minute')).toBeGreaterThan(3 * WRITES);
    await cluster.succeed(cluster.args('drop'));
    await cluster.checkConverged('dropped', ['one', 'none']);
  }, 600_000);

  /** Seconds that each of ours has been prepared. */
  async function prepared(): Promise<readonly number[]> {
    const ages: number[] = [];
    for (const connection of cluster.connections.values()) {
      const rows = await connection.arrays(
        `select extract(epoch from clock_timestamp() - prepared) from pg_prepared_xacts where database = current_database()`,
      );
      ages.push(...rows.map(([age]) => Number(age)));
    }
    return ages;
  }
});
