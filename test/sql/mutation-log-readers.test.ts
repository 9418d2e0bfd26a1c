/** Who reads the view mutation_log: what transaction he is in, what he may, and what he can't be led astray by. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { fillSql } from '../../src/postgres/sql-files.js';
import { transaction } from '../../src/postgres/transaction.js';
import { LEVEL, MUTATION_LOG_COLUMNS, NAMES, useMutationLog } from '../support/mutation-log.js';
import { SERVERS } from '../support/pg-versions.js';

describe.each(SERVERS)('mutation_log on $name', ({ url }) => {
  const log = useMutationLog(url);

  it("does not count the reader's own rows before they are committed", async () => {
    await log.createSet('a');
    const writer = await log.connect();
    await writer.script('begin');
    await log.write(writer, { count: 2 });
    expect(await log.readOne(writer)).toMatchObject(LEVEL);
    // From now on snapshots reach beyond the writer's transaction, and never name the one that takes them.
    await log.admin.query('select pg_current_xact_id()');
    expect(await log.readOne(writer)).toMatchObject(LEVEL);
    await writer.script('commit');
    expect((await log.readOne(writer)).pending_mutations).toBe('2');
  });

  it('reads as of the snapshot of a transaction that keeps one', async () => {
    await log.createSet('a');
    const reader = await log.connect();
    await reader.script('begin isolation level repeatable read read only');
    expect(await log.readOne(reader)).toMatchObject(LEVEL);
    await log.write(log.admin, { count: 3 });
    expect(await log.readOne(reader)).toMatchObject(LEVEL);
    expect(await log.pending()).toBe('3');
    await reader.script('commit');
    expect((await log.readOne(reader)).pending_mutations).toBe('3');
  });

  it('leaves no lock on the log to a reader who does not end his transaction', async () => {
    await log.createSet('a');
    await log.write(log.admin);
    const reader = await log.connect();
    await reader.script('begin');
    await log.readOne(reader);
    await transaction(log.admin, () =>
      log.admin.script('lock table shovel.log_0_a, shovel.ticket_0_a in access exclusive mode nowait'),
    );
    await reader.script('commit');
  });

  it('can be read by pg_monitor, who can read and call nothing else, and by nobody without', async () => {
    await log.createSet('a');
    await log.write(log.admin);
    const monitor = `monitor_${randomBytes(4).toString('hex')}`;
    const plain = `plain_${randomBytes(4).toString('hex')}`;
    await log.admin.script(`create role ${monitor}; create role ${plain}; grant pg_monitor to ${monitor}`);
    try {
      const other = await log.connect();
      await other.script('begin');
      const session = await log.connect();
      await session.script(`set session authorization ${monitor}`);
      const row = await log.readOne(session);
      expect(row).toMatchObject({ pending_mutations: '1' });
      expect(Number(row.open_s)).toBeGreaterThan(0);
      await other.script('rollback');
      const refused = /permission denied/;
      const objects = await log.admin.query(
        `select c.relname as name, c.relkind as kind from pg_class c where c.relnamespace = 'shovel'::regnamespace
           and c.relkind in ('r', 'v', 'S') and c.relname <> 'mutation_log'`,
      );
      expect(objects.length).toBeGreaterThan(10);
      for (const { name } of objects) {
        await expect(session.query(`select * from shovel.${name}`)).rejects.toThrow(refused);
      }
      for (const call of [
        `mutation_estimate('a', 0, 1, null, 100)`,
        `note_metadata_a()`,
        `peek_a('1:1:', 0)`,
        `mark_a()`,
        `row_text(row(1))`,
      ]) {
        await expect(session.query(`select shovel.${call}`)).rejects.toThrow(refused);
      }
      await expect(session.query('delete from shovel.mutation_log')).rejects.toThrow();

      await session.script(`reset session authorization; set session authorization ${plain}`);
      await expect(log.readOne(session)).rejects.toThrow(refused);
      await log.admin.script(`grant usage on schema shovel to ${plain}`);
      await expect(log.readOne(session)).rejects.toThrow(refused);
      await expect(session.query('select * from shovel.mutation_figures()')).rejects.toThrow(refused);
      await log.admin.script(`grant select on shovel.mutation_log to ${plain};
        grant execute on function shovel.mutation_figures() to ${plain}`);
      expect((await log.readOne(session)).pending_mutations).toBe('1');
      await session.script('reset session authorization');
    } finally {
      await log.admin.script(`drop owned by ${monitor}, ${plain}; drop role ${monitor}, ${plain}`);
    }
  });

  it("can't be led astray by what a reader has in his search path and temporary schema", async () => {
    await log.createSet('a');
    await log.write(log.admin, { count: 2 });
    const session = await log.connect();
    await session.script(`create temp table pg_class (relname text); create schema trap;
      create function trap.greatest_of(bigint, bigint) returns bigint language sql as 'select 0::bigint';
      create function trap.count(bigint) returns bigint language sql as 'select 0::bigint';
      create function trap.to_regclass(text) returns regclass language sql as 'select null::regclass';
      set search_path = trap, pg_temp, pg_catalog`);
    expect(await log.readOne(session)).toMatchObject({ ticket: '0', pending_mutations: '2' });
    await session.script('set search_path = pg_catalog; drop schema trap cascade');
  });

  it('can be run again, over another shape too', async () => {
    await log.createSet('a');
    const path = new URL('../../sql/functions/mutation_log.sql', import.meta.url);
    const sql = fillSql(await readFile(path, 'utf8'), NAMES);
    const install = () =>
      transaction(log.admin, async () => {
        await log.admin.script(`set local role ${NAMES.owner}`);
        await log.admin.script(sql);
      });
    const reader = `reader_${randomBytes(4).toString('hex')}`;
    await log.admin.script(
      `create role ${reader}; grant select on shovel.mutation_log to ${reader}; create view public.mine as select ticket from shovel.mutation_log`,
    );
    try {
      await install();
      const [kept] = await log.admin.query(
        `select has_table_privilege($1, 'shovel.mutation_log', 'select') as kept`,
        [reader],
      );
      expect(kept?.kept).toBe('t');
    } finally {
      await log.admin.script(`drop view public.mine; drop owned by ${reader}; drop role ${reader}`);
    }
    await transaction(log.admin, async () => {
      await log.admin.script(`set local role ${NAMES.owner}`);
      await log.admin.script(`drop view shovel.mutation_log; drop function shovel.mutation_figures();
        create function shovel.mutation_figures() returns table (old_figure int) language sql as 'select 1';
        create view shovel.mutation_log as select f.old_figure, 1 as more from shovel.mutation_figures() f`);
    });
    await install();
    expect(Object.keys(await log.readOne()).slice(0, MUTATION_LOG_COLUMNS.length)).toEqual(
      MUTATION_LOG_COLUMNS,
    );
    const [granted] = await log.admin.query(
      `select has_table_privilege('pg_monitor', 'shovel.mutation_log', 'select') as view`,
    );
    expect(granted?.view).toBe('t');
  });
});
