/**
 * Which functions capture a table: its own, under whatever name it goes by. A row that is being written while a version
 * is decided is in the log once, also where its table was renamed.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inspectCapture } from '../../src/capture/inspect.js';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { sha256Hex } from '../../src/runtime/hash.js';
import {
  type CapturedNode,
  createCapturedNode,
  names,
  onPublic,
  parseTables,
  SET,
} from '../support/captured-node.js';
import { SERVERS } from '../support/pg-versions.js';
import { until } from '../support/until.js';

const SETUP = `
create table item (id int primary key, name text);
create table other (id int primary key, name text);
create table part (id int, at date, primary key (id, at)) partition by range (at);
create table part_1 partition of part for values from ('2026-01-01') to ('2026-02-01')`;
const TABLES = `
- { name: public.item }
- { name: public.other }
- { name: public.part }`;
const GATE = 4711;

describe.each(SERVERS)('on $name', ({ url }) => {
  let node: CapturedNode;
  let writer: PostgresConnection;
  beforeEach(async () => {
    node = await createCapturedNode({ server: url(), setup: SETUP, tables: TABLES });
    writer = await node.session({ settings: { search_path: 'public' } });
  });
  afterEach(() => node.close());

  const run = (script: string) => onPublic(node.connection, script);
  const triggersOf = async (table: string) => {
    const rows = await node.connection.query(
      `select t.oid, t.tgname from pg_trigger t where t.tgrelid = $1::regclass and not t.tgisinternal order by t.tgname`,
      [table],
    );
    return rows.map((row) => `${row.oid} ${row.tgname}`);
  };
  const logged = async () => (await node.log()).map((row) => `${row.table} ${row.op} ${row.new ?? row.old}`);

  /** Triggers that fire right after each of ours, and there wait for a lock that somebody may hold. */
  const waitAfterEach = async (table: string) => {
    await run(`create function gate() returns trigger language plpgsql as $$
      begin
        perform pg_advisory_xact_lock_shared(${GATE});
        return null;
      end $$`);
    for (const trigger of await triggersOf(`public.${table}`)) {
      const name = trigger.slice(trigger.indexOf(' ') + 1);
      if (!name.endsWith('_i')) continue;
      await run(
        `create trigger "${name}~" after insert on ${table} for each row execute function public.gate()`,
      );
    }
  };
  const waiting = async () => {
    const rows = await node.connection.query(
      `select from pg_locks l where l.locktype = 'advisory' and not l.granted`,
    );
    return rows.length > 0;
  };

  it.each([
    ['the first of two triggers', 'moved'],
    ['the second', 'a_name_with_another_hash'],
  ])(
    'logs a row once that is written while its table gets a new name in the set: behind %s',
    async (_, name) => {
      await run(`alter table item rename to ${name}`);
      const { tables, configuration } = await node.describe({
        tables: TABLES.replace('public.item', `public.${name}`),
      });
      await node.ground(tables);
      await waitAfterEach(name);
      const gate = await node.session();
      await gate.script(`select pg_advisory_lock(${GATE})`);
      const writing = writer.script(`insert into ${name} select g, 'x' from generate_series(1, 5) g`);
      await until('the writer stands behind one of our triggers', waiting);
      await node.activate(tables, configuration);
      await gate.script(`select pg_advisory_unlock(${GATE})`);
      await writing;
      const ids = (await node.log()).map((row) => JSON.parse(row.new ?? '').id);
      expect(ids).toEqual([1, 2, 3, 4, 5]);
      await writer.script(`insert into ${name} values (6, 'y')`);
      await node.removeCapture(tables);
      await writer.script(`insert into ${name} values (7, 'y')`);
      expect((await node.log()).slice(-2).map((row) => row.table)).toEqual([
        `public.${name}`,
        `public.${name}`,
      ]);
    },
  );

  it('leaves the triggers of tables alone that exchange their names', async () => {
    const before = [await triggersOf('public.item'), await triggersOf('public.other')];
    await run(
      'alter table item rename to third; alter table other rename to item; alter table third rename to other',
    );
    await node.capture({ tables: TABLES });
    expect([await triggersOf('public.other'), await triggersOf('public.item')]).toEqual(before);
    await writer.script(`insert into item values (1, 'i'); insert into other values (2, 'o')`);
    expect(await logged()).toEqual([
      'public.item I {"id":1,"name":"i"}',
      'public.other I {"id":2,"name":"o"}',
    ]);
  });

  it('does not log the rows of a table under the name that another had', async () => {
    await run('alter table item rename to former; create table item (id int primary key, extra text)');
    const { tables, configuration } = await node.describe({ tables: TABLES });
    await node.ground(tables);
    await writer.script(
      `insert into item values (1, 'not yet captured'); insert into former values (2, 'still')`,
    );
    expect(await logged()).toEqual(['public.item I {"id":2,"name":"still"}']);
    await node.activate(tables, configuration);
    await writer.script(`insert into item values (3, 'now'); insert into former values (4, 'no more')`);
    await node.removeCapture(tables);
    await writer.script(`insert into item values (5, 'now'); insert into former values (6, 'no more')`);
    expect((await logged()).slice(1)).toEqual([
      'public.item I {"id":3,"extra":"now"}',
      'public.item I {"id":5,"extra":"now"}',
    ]);
    expect(await triggersOf('public.former')).toEqual([]);
  });

  it('begins with what was decided where a captured table was dropped and is made again', async () => {
    await run('drop table item; create table item (id int primary key)');
    const { tables, configuration } = await node.describe({ tables: TABLES });
    await node.ground(tables);
    await writer.script('insert into item values (1)');
    await node.activate(tables, configuration);
    await writer.script('insert into item values (2)');
    expect(await logged()).toEqual(['public.item I {"id":2}']);
  });

  it('goes on with the functions that an abandoned change gave a table', async () => {
    await run('create table late (id int primary key)');
    const more = `${TABLES}\n- { name: public.late }`;
    await node.ground((await node.describe({ tables: more })).tables);
    const before = await triggersOf('public.late');
    await run('alter table late rename to later');
    await node.capture({ tables: more.replace('late', 'later') });
    expect(await triggersOf('public.later')).toEqual(before);
    await writer.script('insert into later values (1)');
    expect(await logged()).toEqual(['public.later I {"id":1}']);
  });

  it('finds the functions of a table whose oid is another than when it was captured', async () => {
    const before = await triggersOf('public.item');
    await node.connection.script(
      `update ${names.schema}.captured_table set relid = relid::int8::oid::int8 + 100000`,
    );
    const { tables } = await node.describe({ tables: TABLES });
    await node.ground(tables);
    expect(await triggersOf('public.item')).toEqual(before);
  });

  it('takes triggers away that call the functions of another table', async () => {
    await run(
      'alter table part detach partition part_1; create table copied (id int primary key, name text)',
    );
    const [trigger] = (await triggersOf('public.item')).filter((name) => name.endsWith('_i'));
    const definition = await node.connection.query(`select pg_get_triggerdef($1::oid) as text`, [
      trigger?.split(' ')[0] ?? '',
    ]);
    await run((definition[0]?.text ?? '').replace('public.item', 'public.copied'));
    const findings = await inspectCapture(node.connection, {
      names,
      set: SET,
      version: 1,
      configuration: parseTables({ tables: TABLES }),
      hash: sha256Hex,
    });
    expect(findings.map(({ code, object }) => `${code} ${object}`).sort()).toEqual([
      'trigger_elsewhere public.copied',
      'trigger_elsewhere public.part_1',
    ]);
    await run(findings.map(({ fix }) => fix).join(';'));
    expect([await triggersOf('public.copied'), await triggersOf('public.part_1')]).toEqual([[], []]);
  });

  it('takes them away with the next version too', async () => {
    await run('alter table part detach partition part_1');
    expect((await triggersOf('public.part_1')).length).toBe(1);
    await node.removeCapture(await node.capture({ tables: TABLES }));
    expect(await triggersOf('public.part_1')).toEqual([]);
    expect((await triggersOf('public.part')).length).toBe(4);
  });
});
