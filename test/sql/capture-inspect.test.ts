/** Inspection finds whatever keeps a set from being captured as its version says, and names what mends it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inspectCapture } from '../../src/capture/inspect.js';
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

const SETUP = `
create table item (id int primary key, name text);
create table part (id int primary key) partition by range (id);
create table part_1 partition of part for values from (0) to (100);
create type mood as enum ('a'); create table moody (id int primary key, m mood);
create table bulk (id int primary key);
create schema shop; create table shop.one (id int primary key);`;
const TABLES = `
- { name: public.item }
- { name: public.part }
- { name: public.moody }
- { name: public.bulk, capture: statement }
- { name: shop.* }`;

describe.each(SERVERS)('on $name', ({ url }) => {
  let node: CapturedNode;
  let version = 1;
  beforeEach(async () => {
    node = await createCapturedNode({ server: url(), setup: SETUP, tables: TABLES });
    version = 1;
  });
  afterEach(() => node.close());
  const run = (script: string) => onPublic(node.connection, script);
  const inspect = () =>
    inspectCapture(node.connection, {
      names,
      set: SET,
      version,
      configuration: parseTables({ tables: TABLES }),
      hash: sha256Hex,
    });
  const found = async () =>
    (await inspect()).map((finding) => `${finding.severity} ${finding.code} ${finding.object}`).sort();

  it('finds nothing where all is well, also after writes', async () => {
    await run(`insert into item values (1, 'x'); insert into part values (1); insert into bulk values (1)`);
    expect(await inspect()).toEqual([]);
  });

  it.each([
    ['alter table item disable trigger all', ['error trigger_disabled public.item (4)'], true],
    ['alter table part_1 disable trigger all', ['error trigger_disabled public.part_1 (4)'], true],
    [
      'alter table item rename to thing',
      ['error table_missing public.item', 'warning table_renamed public.item'],
      false,
    ],
    ['drop table item', ['error table_dropped public.item', 'error table_missing public.item'], false],
    ['drop table item; create table item (id int primary key)', ['error table_replaced public.item'], false],
    ['alter table item add extra int, drop name', ['warning table_changed public.item'], false],
    ['alter table item alter id type bigint', ['warning table_changed public.item'], false],
    [
      `create function mj(mood) returns json language sql as 'select null::json'; create cast (mood as json) with function mj(mood)`,
      ['warning table_changed public.moody'],
      false,
    ],
    [
      'create table part_2 partition of part for values from (100) to (200)',
      ['error partition_without_truncate_trigger public.part_2'],
      false,
    ],
    ['create table shop.two (id int primary key)', ['warning table_not_captured shop.two'], false],
    [
      `create function busy() returns trigger language plpgsql as 'begin return null; end'; create trigger busy after insert on bulk for each row execute function busy()`,
      ['error statement_capture_refused public.bulk'],
      false,
    ],
  ])('finds: %s', async (script, expected, counted) => {
    await run(script);
    const all = await found();
    const shown = counted ? [`${all[0]} (${all.length})`] : all;
    expect(shown).toEqual(expected);
    expect((await inspect()).every((finding) => finding.fix !== '' && finding.message !== '')).toBe(true);
  });

  it('finds triggers that were dropped and functions that were replaced or dropped', async () => {
    const triggers = await node.connection.query(
      `select tgname, proname from pg_trigger t join pg_proc p on p.oid = t.tgfoid where tgrelid = 'public.item'::regclass order by 1`,
    );
    const [first, second, third] = triggers;
    await run(`drop trigger "${first?.tgname}" on item`);
    await node.connection.script(
      `create or replace function ${names.schema}.${second?.proname}() returns trigger language plpgsql security definer as 'begin return null; end'`,
    );
    await node.connection.script(`drop function ${names.schema}.${third?.proname}() cascade`);
    expect(await found()).toEqual([
      `error function_missing ${names.schema}.${third?.proname}`,
      `error function_replaced ${names.schema}.${second?.proname}`,
      'error trigger_missing public.item',
      'error trigger_missing public.item',
    ]);
    await node.capture({ tables: TABLES });
    version = 2;
    expect(await inspect()).toEqual([]);
  });

  it('is content once the ground is prepared and the functions are made again', async () => {
    await run(
      'create table part_2 partition of part for values from (100) to (200); alter table item add extra int',
    );
    await node.capture({ tables: TABLES });
    version = 2;
    expect(await inspect()).toEqual([]);
    await run('insert into part values (150); truncate part_2');
    expect((await node.log()).map((row) => row.op)).toEqual(['I', 'T']);
  });
});
