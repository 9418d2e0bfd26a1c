/** A version makes again only what it changes; the functions of all other tables get its numbers, and are as if made anew. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { activationStatements } from '../../src/capture/activate.js';
import { inspectCapture } from '../../src/capture/inspect.js';
import { readStandingTables } from '../../src/capture/renumber.js';
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
create table item (id int primary key, name text, data json);
create table "values (1, " (id int primary key, "@rel" text);
create table part (id int primary key) partition by range (id);
create table part_1 partition of part for values from (0) to (100);
create table bulk (id int primary key);
create table few (id int primary key, n int);`;
const TABLES = `
- { name: public.item, before: full }
- { name: 'public."values (1, "' }
- { name: public.part }
- { name: public.bulk, capture: statement }
- { name: public.few, where: "n > 1", operations: [insert, update] }`;
const WRITES = `insert into item values (1, 'values (1, x', '[1]'); update item set name = 'y';
  insert into "values (1, " values (1, 'z'); insert into part values (1); insert into bulk values (1); delete from bulk;
  insert into few values (1, 2); truncate item`;
/** Rows of the log that WRITES makes. */
const WRITTEN = 8;

describe.each(SERVERS)('on $name', ({ url }) => {
  let node: CapturedNode;
  beforeEach(async () => {
    node = await createCapturedNode({ server: url(), setup: SETUP, tables: TABLES });
  });
  afterEach(() => node.close());
  const run = (script: string) => onPublic(node.connection, script);
  const inspect = (version: number) =>
    inspectCapture(node.connection, {
      names,
      set: SET,
      version,
      configuration: parseTables({ tables: TABLES }),
      hash: sha256Hex,
    });
  /** Tables whose functions the next version would make, of those of the set file. */
  const madeNext = async (version: number, tables = TABLES) => {
    const statements = activationStatements({
      names,
      set: SET,
      version,
      tables: (await node.describe({ tables })).tables,
      rowBytes: parseTables({ tables }).limits.rowBytes,
      streams: [],
      hash: sha256Hex,
      standing: await readStandingTables(node.connection, { names, set: SET, version }),
    });
    return statements
      .filter((statement) => statement.startsWith('do $activate$'))
      .map((statement) => /'public', '(.*?)', \d/.exec(statement)?.[1])
      .sort();
  };

  it('numbers functions anew and leaves nothing of the old number in them', async () => {
    expect(await madeNext(2)).toEqual([]);
    for (const version of [2, 3]) {
      await node.capture({ tables: TABLES });
      expect(await inspect(version)).toEqual([]);
      await run(`${WRITES}; truncate "values (1, ", part, bulk, few`);
      const rows = await node.log(`l.rel <> 0 and l.ver = ${version}`);
      expect(rows.length).toBeGreaterThanOrEqual(WRITTEN);
      expect(new Set(rows.map((row) => row.table)).size).toBe(5);
    }
    expect(await node.log('l.ver = 1')).toEqual([]);
  });

  it('makes again what changed, what was replaced by hand, and what is gone', async () => {
    await run('alter table item add extra int; drop table bulk; create table bulk (id int primary key)');
    const one = await node.connection.query(
      `select p.proname from pg_proc p where p.proname = (
         select (c.definition::json ->> 'base') || '_u' from shovel.captured_table c where c.table_name = 'part')`,
    );
    await node.connection.script(
      `create or replace function shovel.${one[0]?.proname}() returns trigger language plpgsql security definer as 'begin return null; end'`,
    );
    await run('alter table few alter n type bigint');
    expect(await madeNext(2)).toEqual(['bulk', 'few', 'item', 'part']);
    await node.capture({ tables: TABLES });
    expect(await inspect(2)).toEqual([]);
    expect(await madeNext(3)).toEqual([]);
    expect(await madeNext(3, TABLES.replace(', before: full', ''))).toEqual(['item']);
  });

  it('leaves the checking of bodies as it was', async () => {
    const { tables } = await node.describe({ tables: TABLES });
    const statements = activationStatements({
      names,
      set: SET,
      version: 2,
      tables,
      rowBytes: parseTables({ tables: TABLES }).limits.rowBytes,
      streams: [],
      hash: sha256Hex,
      standing: await readStandingTables(node.connection, { names, set: SET, version: 2 }),
    });
    await node.connection.script('begin');
    for (const statement of statements) await node.connection.script(statement);
    const [setting] = await node.connection.query(
      `select pg_catalog.current_setting('check_function_bodies') as bodies`,
    );
    await node.connection.script('rollback');
    expect(setting?.bodies).toBe('on');
  });
});
