/**
 * What a role can do that owns captured tables and their types, or writes to them, and nothing else: write as ever,
 * and neither read, change nor empty the log, nor have its code run with another's rights.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ShovelError } from '../../src/errors.js';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { CapturedNode, names, onPublic } from '../support/captured-node.js';
import { SERVERS } from '../support/pg-versions.js';

/** Casts to json and triggers that note whose rights they run with, in a table that everyone may write. */
const SETUP = (owner: string, writer: string) => `
create role ${owner} login; create role ${writer} login;
create schema app authorization ${owner}; grant usage on schema app to ${writer};
set role ${owner};
create type app.mood as enum ('sad', 'glad');
create type app.pair as (a int, b text);
create table app.seen (who text, what text);
create function app.mood_json(app.mood) returns json language plpgsql as $$ begin
  perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'cast runs as ', current_user, ';'), false);
  begin perform 1 from ${names.schema}.log_example; perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'READ', ';'), false); exception when others then null; end;
  begin insert into ${names.schema}.log_0_example (rel, op) values (0, 'I'); perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'WROTE', ';'), false); exception when others then null; end;
  begin perform nextval('${names.schema}.seq_example'); perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'NUMBERED', ';'), false); exception when others then null; end;
  begin drop function ${names.schema}.note_metadata_example(); perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'DROPPED', ';'), false); exception when others then null; end;
  begin perform ${names.schema}.row_text(row(1)); perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'CALLED', ';'), false); exception when others then null; end;
  begin set role ${names.capture}; perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'BECAME', ';'), false); exception when others then null; end;
  begin truncate ${names.schema}.log_0_example; perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'EMPTIED', ';'), false); exception when others then null; end;
  return json_build_object('who', current_user); end $$;
create table app.thing (id int primary key, m app.mood, p app.pair, note text);
create table app.keyed (m app.mood primary key, n timestamptz);
grant all on app.thing, app.keyed to ${writer};
reset role;
create table public.trusted (id int primary key, m app.mood);
grant all on public.trusted to ${writer}, ${owner};
create table public.plain (id int primary key, note text, at timestamptz default now(), amount numeric, data jsonb, tags text[]);
grant all on public.plain to ${writer};
create table public.texts (id text primary key, note text);
create table public.whole (id text primary key, note text);
create table public.named (id text primary key, note text, secret text);
create table public.bulk (id text primary key, note text);
create table public.slim (id text primary key, note text);
grant all on public.texts, public.whole, public.named, public.bulk, public.slim to ${writer};
`;

const TABLES = `
- { name: app.thing }
- { name: app.keyed, before: full }
- { name: public.trusted }
- { name: public.plain, before: full }
- { name: public.texts }
- { name: public.whole, before: full }
- { name: public.named, columns: [id, note] }
- { name: public.bulk, capture: statement }
- { name: public.slim, unchanged_wide: omit }`;

describe.each(SERVERS)('on $name', ({ url }) => {
  const suffix = randomBytes(4).toString('hex');
  const owner = `owner_${suffix}`;
  const writer = `writer_${suffix}`;
  let node: CapturedNode;

  beforeAll(async () => {
    node = await CapturedNode.create(url());
    await onPublic(node.connection, SETUP(owner, writer));
    await node.capture({ tables: TABLES });
  });
  afterAll(async () => {
    await node.connection.script(
      `reset role; drop table public.trusted, public.plain, public.texts, public.whole, public.named, public.bulk, public.slim; drop owned by ${owner}, ${writer} cascade; drop role ${owner}, ${writer}`,
    );
    await node.close();
  });

  const refused = async (session: PostgresConnection, statement: string): Promise<string> => {
    try {
      await session.script(statement);
      return 'allowed';
    } catch (error) {
      return error instanceof ShovelError ? error.code : 'another error';
    }
  };

  it('lets a role write that has no privilege on our schema', async () => {
    const session = await node.session({ user: writer });
    await session.script(`insert into app.thing values (1, 'sad', row(1, 'x'), 'n'); update app.thing set m = 'glad'; delete from app.thing;
      insert into public.plain (id, tags, data) values (1, '[0:0]={x}', 'null'); update public.plain set note = 'x';
      begin; select set_config('shovel.metadata', 'me', true); delete from public.plain; commit`);
    expect((await node.log()).map((row) => row.op).join('')).toBe('IUDIUMD');
    const { usage } = (
      await node.connection.query(`select has_schema_privilege($1, '${names.schema}', 'usage') as usage`, [
        writer,
      ])
    )[0] ?? { usage: null };
    expect(usage).toBe('f');
  });

  it.each([
    `select * from ${names.schema}.log_example`,
    `select * from ${names.schema}.log_0_example`,
    `insert into ${names.schema}.log_0_example (rel, op) values (1, 'D')`,
    `delete from ${names.schema}.log_0_example`,
    `truncate ${names.schema}.log_0_example`,
    `select setval('${names.schema}.switch_example', 8)`,
    `select nextval('${names.schema}.seq_example')`,
    `select ${names.schema}.row_text(row(1))`,
    `select ${names.schema}.note_metadata_example()`,
    `set role ${names.capture}`,
    `set role ${names.sandbox}`,
    `create function ${names.schema}.mine() returns int language sql as 'select 1'`,
  ])('refuses %s', async (statement) => {
    for (const user of [owner, writer]) {
      const answer = await refused(await node.session({ user }), statement);
      expect(answer).toBe('privilege_missing');
    }
  });

  it('runs casts of an untrusted owner as a role that may do nothing, also those made after capture began', async () => {
    const session = await node.session({ user: owner });
    await session.script(
      'create cast (app.mood as json) with function app.mood_json(app.mood) as assignment',
    );
    const notes = await notesOf(node, {
      user: owner,
      statement: `insert into app.thing values (10, 'sad', null, ''); update app.thing set m = 'glad';
        update app.thing set id = 11; insert into app.keyed values ('sad', now()); update app.keyed set m = 'glad';
        delete from app.keyed; delete from app.thing; insert into public.trusted values (1, 'sad')`,
    });
    expect(notes.filter((note) => /^[A-Z]+$/.test(note))).toEqual([]);
    expect(new Set(notes.filter((note) => note.startsWith('cast runs')))).toEqual(
      new Set([`cast runs as ${names.sandbox}`]),
    );
  });

  it('does so for a column added after capture began', async () => {
    const session = await node.session({ user: owner });
    await session.script(
      'alter table app.thing add later app.mood; alter table app.thing add arr app.mood[]',
    );
    const notes = await notesOf(node, {
      user: owner,
      statement: `insert into app.thing (id, later, arr) values (20, 'sad', '{glad}')`,
    });
    expect(notes.length).toBeGreaterThan(0);
    expect(notes.filter((note) => /^[A-Z]+$/.test(note))).toEqual([]);
    expect(new Set(notes)).toEqual(new Set([`cast runs as ${names.sandbox}`]));
  });

  it("does so where a trusted owner adds a column of that role's type to a table without any", async () => {
    const before = await node.lastSeq();
    await onPublic(
      node.connection,
      'alter table plain add later app.mood; alter table plain add pairs app.mood[]',
    );
    const notes = await notesOf(node, {
      user: writer,
      statement: `insert into public.plain (id, later, pairs) values (70, 'sad', '{glad}'); update public.plain set note = 'x';
        update public.plain set id = 71; delete from public.plain`,
    });
    await onPublic(node.connection, 'alter table plain drop later; alter table plain drop pairs');
    expect(notes.length).toBeGreaterThan(0);
    expect(new Set(notes)).toEqual(new Set([`cast runs as ${names.sandbox}`]));
    expect((await node.log(`l.seq > ${before}`)).map((row) => row.op + row.mark)).toEqual([
      'If',
      'Uf',
      'Uf',
      'Df',
    ]);
  });

  it.each(['texts', 'whole', 'named', 'bulk', 'slim'])(
    "does so where a trusted owner gives columns of his table that role's type: %s",
    async (table) => {
      const old = await node.session({ user: writer });
      await old.script(`insert into public.${table} (id, note) values ('a', 'b'); update public.${table} set id = 'c', note = 'd';
        delete from public.${table}`);
      // Comparing, too, could run code of the type's owner: by an implicit cast.
      await onPublic(
        node.connection,
        `create or replace function app.mood_text(app.mood) returns text language plpgsql as $$
           begin perform app.mood_json($1); return 'x'; end $$;
         create cast (app.mood as text) with function app.mood_text(app.mood) as implicit;
         alter table ${table} alter id type app.mood using 'sad', alter note type app.mood using 'sad'`,
      );
      for (const within of [old, await node.session({ user: writer })]) {
        const before = await node.lastSeq();
        const notes = await notesOf(node, {
          user: writer,
          within,
          statement: `insert into public.${table} (id, note) values ('sad', 'sad'); update public.${table} set note = 'glad';
            update public.${table} set id = 'glad'; delete from public.${table}`,
        });
        expect(notes.length).toBeGreaterThan(0);
        expect(new Set(notes)).toEqual(new Set([`cast runs as ${names.sandbox}`]));
        expect((await node.log(`l.seq > ${before}`)).map((row) => row.op + row.mark)).toEqual([
          'If',
          'Uf',
          'Uf',
          'Df',
        ]);
      }
      await node.connection.script('drop cast (app.mood as text)');
    },
  );

  it('runs nothing of what an owner puts on his table: policies, rules, checks, generated columns, operators', async () => {
    const session = await node.session({ user: owner });
    const noting = (name: string, head: string, result: string) =>
      `create function app.${name} language plpgsql ${head} as $$ begin
         perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), '${name.slice(0, 4)} as ', current_user, ';'), false);
         return ${result}; end $$;`;
    await session.script(`
      ${noting('poli() returns boolean', '', 'true')}
      ${noting('chec(int) returns boolean', 'immutable', 'true')}
      ${noting('gene(int) returns int', 'immutable', '$1')}
      ${noting('equa(app.mood, app.mood) returns boolean', '', 'false')}
      ${noting('to_json(app.mood) returns json', '', "'1'::json")}
      ${noting('text(app.mood) returns text', '', "'forged'")}
      create operator app.= (leftarg = app.mood, rightarg = app.mood, function = app.equa);
      create operator app.<> (leftarg = app.mood, rightarg = app.mood, function = app.equa);
      create cast (app.mood as text) with function app.text(app.mood) as implicit;
      create domain app.checked as int check (app.chec(value));
      alter table app.thing enable row level security; alter table app.thing force row level security;
      create policy p on app.thing using (app.poli()) with check (app.poli());
      alter table app.thing add c app.checked, add g int generated always as (app.gene(id)) stored;
      create rule seen as on insert to app.thing do also select app.poli()`);
    const before = await node.lastSeq();
    const notes = await notesOf(node, {
      user: owner,
      statement: `set search_path = app, pg_catalog; insert into app.thing (id, m, c) values (40, 'sad', 1); update app.thing set m = 'glad', id = 41 where id operator(pg_catalog.=) 40;
        delete from app.thing where id operator(pg_catalog.=) 41; reset search_path`,
    });
    const others = notes.filter((note) => !note.endsWith(` as ${owner}`) && !note.startsWith('cast runs'));
    expect(others).toEqual([]);
    expect(notes.filter((note) => note.startsWith('cast runs') && !note.endsWith(names.sandbox))).toEqual([]);
    expect(JSON.stringify(await node.log(`l.seq > ${before}`))).not.toContain('forged');
    await session.script(`drop rule seen on app.thing; drop policy p on app.thing; alter table app.thing disable row level security;
      alter table app.thing drop c, drop g; drop cast (app.mood as text)`);
  });

  it('lets nobody use, replace or give away what is ours', async () => {
    const [found] = await node.connection.query(
      `select f.oid::regprocedure::text as function, t.tgname as trigger from pg_trigger t join pg_proc f on f.oid = t.tgfoid
       where t.tgrelid = 'app.thing'::regclass and t.tgname like '!shovel%' and f.proname like '%\\_i' limit 1`,
    );
    const call = found?.function ?? '';
    expect(call).toContain(`${names.schema}.`);
    const statements = [
      `create table app.fake (id int); create trigger mine after insert on app.fake for each row execute function ${call}`,
      `create or replace function ${call} returns trigger language plpgsql as 'begin return null; end'`,
      `alter function ${call} owner to current_user`,
      `alter function ${call} set search_path = app`,
      `drop function ${call} cascade`,
      `select ${call}`,
      `alter table ${names.schema}.log_0_example owner to current_user`,
      `create trigger mine after insert on ${names.schema}.log_0_example for each row execute function app.mood_json()`,
      `create rule mine as on insert to ${names.schema}.log_0_example do instead nothing`,
      `create policy mine on ${names.schema}.log_0_example`,
      `grant all on ${names.schema}.log_0_example to public`,
      `grant ${names.capture} to current_user`,
      `grant ${names.owner} to current_user`,
      `alter role ${names.capture} login`,
      `alter schema ${names.schema} rename to other`,
      `create view app.spy as select * from ${names.schema}.log_example`,
      `copy ${names.schema}.log_0_example from program 'true'`,
      `lock table ${names.schema}.log_0_example in access share mode`,
      'create type app.base; create function app.base_out(app.base) returns cstring language internal as $$int4out$$',
    ];
    for (const user of [owner, writer]) {
      const session = await node.session({ user });
      for (const statement of statements) {
        const outcome = await refused(session, statement);
        await session.script('rollback');
        expect(`${statement}: ${outcome}`).not.toBe(`${statement}: allowed`);
      }
    }
  });

  it('publishes the text of such values once the cast is known', async () => {
    await node.capture({ tables: TABLES });
    const before = await node.lastSeq();
    const session = await node.session({ user: writer });
    await session.script(
      `insert into app.keyed values ('sad', '2026-01-01'); update app.keyed set m = 'glad'`,
    );
    const rows = await node.log(`l.seq > ${before}`);
    expect(rows.map((row) => JSON.parse(row.extra ?? '{}'))).toEqual([
      { new: { text: { m: 'sad' } } },
      { old: { text: { m: 'sad' } }, new: { text: { m: 'glad' } } },
    ]);
  });

  it('is not misled by operators, functions and types in the search path or in the temporary schema', async () => {
    const session = await node.session({ user: writer });
    await node.connection.script(`grant create, temp on database ${node.url.split('/').at(-1)} to ${writer}`);
    await session.script(`
      create schema mine_${suffix};
      create function mine_${suffix}.trap(anyelement, anyelement) returns boolean language plpgsql as $$ begin perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'TRAP ', current_user, ';'), false); return true; end $$;
      create function mine_${suffix}.trap_text(text, text) returns boolean language plpgsql as $$ begin perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'TRAP ', current_user, ';'), false); return true; end $$;
      create function mine_${suffix}.trap_int(bigint, integer) returns boolean language plpgsql as $$ begin perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'TRAP ', current_user, ';'), false); return true; end $$;
      create function mine_${suffix}.row_to_json(record) returns json language plpgsql as $$ begin perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'TRAP ', current_user, ';'), false); return '1'; end $$;
      create function mine_${suffix}.current_setting(text, boolean) returns text language plpgsql as $$ begin perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'TRAP ', current_user, ';'), false); return 'x'; end $$;
      create operator mine_${suffix}.= (leftarg = text, rightarg = text, function = mine_${suffix}.trap_text);
      create operator mine_${suffix}.<> (leftarg = text, rightarg = text, function = mine_${suffix}.trap_text);
      create operator mine_${suffix}.= (leftarg = bigint, rightarg = integer, function = mine_${suffix}.trap_int);
      create function mine_${suffix}.always(text) returns boolean language plpgsql as $$ begin perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'TRAP ', current_user, ';'), false); return true; end $$;
      create function mine_${suffix}.always8(bigint) returns boolean language plpgsql as $$ begin perform pg_catalog.set_config('seen.log', pg_catalog.concat(pg_catalog.current_setting('seen.log', true), 'TRAP ', current_user, ';'), false); return true; end $$;
      create domain pg_temp.text as pg_catalog.text check (mine_${suffix}.always(value::pg_catalog.text));
      create domain pg_temp.int8 as pg_catalog.int8 check (mine_${suffix}.always8(value::pg_catalog.int8));
      create temp table pg_class (oid int); create temp table log_0_example (seq int)`);
    const notes = await notesOf(node, {
      user: writer,
      within: session,
      statement: `set search_path = pg_temp, mine_${suffix}, pg_catalog; set timezone = 'Asia/Tokyo';
        begin; select pg_catalog.set_config('shovel.metadata', '{"a":1}', true);
        insert into public.plain (id, tags, data) values (50, '[0:0]={x}', 'null'); update public.plain set note = 'x' where id operator(pg_catalog.=) 50; commit;
        set search_path = default; set timezone = default`,
    });
    expect(notes.filter((note) => note.startsWith('TRAP') && !note.endsWith(writer))).toEqual([]);
    expect((await node.log()).at(-1)?.op).toBe('U');
    await session.script(`drop schema mine_${suffix} cascade`);
  });
});

/** What the code planted above has noted of itself during a statement. */
async function notesOf(
  node: CapturedNode,
  { user, statement, within }: { user: string; statement: string; within?: PostgresConnection },
): Promise<readonly string[]> {
  const session = within ?? (await node.session({ user }));
  await session.script(`select pg_catalog.set_config('seen.log', '', false)`);
  await session.script(statement);
  const [row] = await session.query(`select pg_catalog.current_setting('seen.log') as seen`);
  return (row?.seen ?? '').split(';').filter((note) => note !== '');
}
