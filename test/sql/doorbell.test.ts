/**
 * The bell that capture functions ring for a relay that sleeps: one notification for all writers, none where it could
 * make an application's transaction fail, and nothing else is different while it is armed.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Listener, openListener } from '../../src/postgres/listen.js';
import { type CapturedNode, createCapturedNode, SET } from '../support/captured-node.js';
import { testPgNo2pcUrl, testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

const SETUP = `create table item (id int primary key, note text);
  create table bulk (id int primary key, note text)`;
const TABLES = `- { name: public.item }
- { name: public.bulk, capture: statement }`;

describe('the bell, where nothing can be prepared', () => {
  let node: CapturedNode;
  let listener: Listener;
  let heard: string[] = [];
  beforeAll(async () => {
    node = await createCapturedNode({ server: testPgNo2pcUrl(), setup: SETUP, tables: TABLES });
    await node.connection.script(
      `insert into shovel.set_head (set_name) values ('${SET}') on conflict do nothing`,
    );
    listener = await openListener({
      dsn: node.url,
      name: 'database main',
      applicationName: 'shovel relay',
      channel: 'shovel_wake',
      onNotification: (payload) => heard.push(payload),
      onReconnected: () => undefined,
    });
  });
  afterAll(async () => {
    await listener.stop();
    await node.close();
  });
  beforeEach(() => {
    heard = [];
  });
  afterEach(() => node.connection.script(`select shovel.turn_${SET}(0, 4, 0)`));

  const arm = async () => {
    const rows = await node.connection.query(`select shovel.arm_${SET}(0) as armed`);
    return rows[0]?.armed;
  };
  const bell = async () =>
    (await node.connection.query(`select last_value from shovel.bell_${SET}`))[0]?.last_value;
  /** What was heard of all that was sent before the call: notifications keep their order. */
  const heardByNow = async () => {
    const end = `end ${Math.random()}`;
    await node.connection.query(`select pg_notify('shovel_wake', $1)`, [end]);
    await until('the end is heard', () => heard.includes(end));
    return heard.filter((one) => !one.startsWith('end '));
  };
  const write = (sql: string) => node.connection.script(sql);

  it('rings once for all writers until it is armed again', async () => {
    await write(`insert into public.item values (1, 'quiet')`);
    expect(await heardByNow()).toEqual([]);
    expect(await arm()).toBe('t');
    await write(`insert into public.item values (2, 'rings')`);
    await write(`insert into public.item values (3, 'after it')`);
    expect(await heardByNow()).toEqual([`"shovel".${SET}`]);
    expect(await bell()).toBe('0');
    expect(await arm()).toBe('t');
    await write(`update public.item set note = 'again'`);
    expect(await heardByNow()).toHaveLength(2);
  });

  it.each([
    ['a statement of few rows', `insert into public.bulk values (1, '')`],
    ['a statement of many rows', `insert into public.bulk select n, '' from generate_series(2, 500) n`],
    ['a truncate', 'truncate public.bulk'],
    ['a delete', 'delete from public.item where id = 3'],
    [
      'a row with context',
      `begin; select set_config('shovel.metadata', '{"a":1}', true); insert into public.item values (7, ''); commit`,
    ],
  ])('is rung by %s, which is logged as ever', async (_, sql) => {
    const before = await node.lastSeq();
    expect(await arm()).toBe('t');
    await write(sql);
    expect(await heardByNow()).toHaveLength(1);
    const rows = await node.log(`l.seq > ${before}`);
    expect(rows.length).toBeGreaterThan(0);
    if (sql.includes('metadata')) expect(rows.map((row) => row.op)).toEqual(['M', 'I']);
    if (sql.includes('metadata')) expect(rows[1]?.meta).toBe(rows[0]?.seq);
  });

  it('leaves writers in their segment, and an armed switch where it stands when the segment turns', async () => {
    expect(await arm()).toBe('t');
    await node.connection.query(`select shovel.turn_${SET}(0, 3, 1)`);
    expect((await node.connection.query(`select last_value from shovel.switch_${SET}`))[0]?.last_value).toBe(
      '5',
    );
    await write(`insert into public.item values (20, 'second')`);
    const rows = await node.connection.query(`select count(*) as n from shovel.log_1_${SET}`);
    expect(rows[0]?.n).toBe('1');
    expect(await heardByNow()).toHaveLength(1);
  });

  it('is silent when the one who rang rolls back; the next to be armed rings', async () => {
    expect(await arm()).toBe('t');
    await write(`begin; insert into public.item values (30, ''); rollback`);
    await write(`insert into public.item values (31, 'in silence')`);
    expect(await heardByNow()).toEqual([]);
    expect(await bell()).toBe('0');
    expect(await arm()).toBe('t');
    await write(`insert into public.item values (32, '')`);
    expect(await heardByNow()).toHaveLength(1);
  });

  it('is rung by one that only rolled a savepoint back, if another row follows', async () => {
    expect(await arm()).toBe('t');
    await write(`begin; savepoint s; insert into public.item values (40, ''); rollback to s;
      insert into public.item values (41, ''); commit`);
    // The notification went with the savepoint; the relay's poll finds the row.
    expect(await heardByNow()).toEqual([]);
    expect(await bell()).toBe('0');
  });

  it('is not armed by a relay that was replaced', async () => {
    await expect(node.connection.query(`select shovel.arm_${SET}(7)`)).rejects.toMatchObject({
      exitCode: 26,
    });
  });

  it("is nobody else's to ring or to arm", async () => {
    const role = `plain_${randomBytes(4).toString('hex')}`;
    await write(`create role ${role}; grant usage on schema shovel to ${role}`);
    const session = await node.session({ user: role });
    for (const call of [`ring_${SET}(4)`, `arm_${SET}(0)`, `turn_${SET}(0, 0, 8)`, `suspend_${SET}(0, '')`]) {
      await expect(session.query(`select shovel.${call}`)).rejects.toMatchObject({
        code: 'privilege_missing',
      });
    }
    await session.end();
    await write(`revoke usage on schema shovel from ${role}; drop role ${role}`);
  });
});

describe('the bell, where transactions can be prepared', () => {
  let node: CapturedNode;
  beforeAll(async () => {
    node = await createCapturedNode({ server: testPgUrl(), setup: SETUP, tables: TABLES });
  });
  afterAll(() => node.close());

  it('is never armed, and never rung even if it was when the server was started otherwise', async () => {
    const { connection } = node;
    const rows = await connection.query(`select shovel.arm_${SET}(0) as armed`);
    expect(rows[0]?.armed).toBe('f');
    await connection.script(
      `select setval('shovel.bell_${SET}', 1); select setval('shovel.switch_${SET}', 4)`,
    );
    const gid = `bell ${node.url}`;
    const writer = await node.session();
    await writer.script(
      `begin; insert into public.item values (1, 'prepared'); prepare transaction '${gid}'`,
    );
    await writer.script(`commit prepared '${gid}'`);
    expect(await node.log()).toHaveLength(1);
    const bells = await connection.query(`select last_value from shovel.bell_${SET}`);
    expect(bells[0]?.last_value).toBe('1');
  });
});
