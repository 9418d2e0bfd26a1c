/**
 * A relay that is killed while it suspends a set, and an administrator who is killed while taking it on again: the next
 * one ends what was begun, and no transaction is ever published in part.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createSet } from '../../src/admin/create-set.js';
import { runDoctor } from '../../src/admin/doctor/doctor.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import {
  type AdminCluster,
  type Administrator,
  makeAdminCluster,
  type NodeDatabase,
  zooKeeper,
} from '../support/admin-cluster.js';
import { buildCli, type CliResult, runCli } from '../support/cli.js';
import { testZkHosts } from '../support/services.js';
import { configured } from '../support/set-file-text.js';
import { temporaryFolder } from '../support/temporary-folder.js';

describe('a set over its limits', () => {
  let cluster: AdminCluster;
  let admin: Administrator;
  let main: NodeDatabase;
  let torn: PostgresConnection;
  let path: string;
  beforeAll(buildCli);
  beforeEach(async () => {
    cluster = await makeAdminCluster(zooKeeper);
    admin = await cluster.administrator();
    main = await cluster.database('create table item (id serial primary key, note text)');
    torn = await openConnection({ dsn: main.url, name: 'torn', applicationName: 'app' });
    path = join(temporaryFolder('suspend'), 'trail.jsonl');
    const configuration = configured(`name: example
databases: { main: { dsn: "${main.url}" } }
tables: [{ name: public.item }]
streams: { trail: { file: { path: "${path}" } } }
limits: { log_bytes: 300kB, lag: 1h, policy: suspend }
`);
    await createSet(admin.context, { configuration, wait: true, dryRun: false });
  });
  afterEach(async () => {
    await torn.end();
    await cluster.remove();
  });

  const shovel = (args: readonly string[], failpoint = ''): Promise<CliResult> =>
    runCli([...args, '--log-format', 'json'], {
      env: {
        SHOVEL_CLUSTER: cluster.name,
        SHOVEL_ZOOKEEPER_HOSTS: testZkHosts(),
        SHOVEL_LEASE_TIME: '2s',
        ...(failpoint === '' ? {} : { SHOVEL_FAILPOINT: `${failpoint}:kill` }),
      },
    });
  const write = (note: string, rows: number) =>
    main.connection.script(
      `insert into item (note) select '${note} ' || repeat(md5(n::text), 30) from generate_series(1, ${rows}) n`,
    );
  const captures = async () =>
    (await main.value(`select last_value & 8 from ${cluster.names.schema}.switch_example`)) === '0';
  /** How many rows of each kind are in the file. */
  const published = () => {
    const counts: Record<string, number> = {};
    for (const [, kind = ''] of readFileSync(path, 'utf8').matchAll(/"note":"([a-z]+) /g)) {
      counts[kind] = (counts[kind] ?? 0) + 1;
    }
    return counts;
  };
  const told = async () =>
    (await runDoctor(admin.context, { thresholds: { transactionMs: 86_400_000 } })).findings.find(
      ({ code }) => code === 'capture_suspended',
    );

  // What it has done when it is killed, and what is whole then.
  it.each([
    { point: 'suspend.record.before', recorded: false, turned: false },
    { point: 'suspend.record.after', recorded: true, turned: false },
    { point: 'suspend.turn.after', recorded: true, turned: true },
  ])('whose relay is killed at $point', { timeout: 240_000 }, async ({ point, recorded, turned }) => {
    await torn.script(`begin; insert into public.item (note) values ('torn ')`);
    await write('whole', 400);
    // As if it had been over them for longer than is waited for.
    await main.connection.script(
      `update ${cluster.names.schema}.set_head set over_since = now() - interval '1 hour'`,
    );
    expect(await shovel(['relay', 'example'], point)).toMatchObject({ signal: 'SIGKILL' });
    expect(await captures()).toBe(!turned);
    expect((await told())?.message).toEqual(
      recorded ? expect.stringContaining('is suspended since') : undefined,
    );
    await torn.script(`insert into public.item (note) values ('torn '); commit`);
    await write('later', 20);

    const next = await shovel(['relay', 'example', '--once']);
    expect(next).toMatchObject({ code: 25 });
    expect(next.stderr).toContain('capture_suspended');
    expect(await captures()).toBe(false);
    expect((await told())?.fix).toContain('shovel node adopt example main');
    const whole = recorded ? { whole: 400 } : { whole: 400, torn: 2, later: 20 };
    expect(published()).toEqual(whole);
    await write('lost', 20);
    expect(await shovel(['relay', 'example'])).toMatchObject({ code: 25 });
    expect(published()).toEqual(whole);

    // Whoever takes it on again is killed, too: capture is on, and nothing is drawn.
    expect(await shovel(['node', 'adopt', 'example', 'main'], 'open.main.before')).toMatchObject({
      signal: 'SIGKILL',
    });
    expect(await captures()).toBe(true);
    expect((await told())?.message).toContain('has begun to take it on again and has not ended');
    await write('between', 20);
    expect(await shovel(['relay', 'example', '--once'])).toMatchObject({ code: 25 });
    expect(published()).toEqual(whole);
    const adopted = await shovel(['node', 'adopt', 'example', 'main']);
    expect(adopted, adopted.stderr).toMatchObject({ code: 0 });
    expect(await told()).toBeUndefined();
    await write('again', 20);
    const relayed = await shovel(['relay', 'example', '--once']);
    expect(relayed, relayed.stderr).toMatchObject({ code: 0 });
    expect(published()).toEqual({ ...whole, again: 20 });
  });
});
