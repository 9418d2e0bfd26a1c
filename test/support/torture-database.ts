/**
 * The database that the torture test is about, and what its application does to it: every kind of table that capture
 * treats in its own way, small enough that transactions meet. Amounts in `purse` and `vault` are moved, never made: in
 * every state that the source was in they add up to nothing.
 */
import type { Random } from './random-workload.js';

/** Rows of a table have ids from 1 to here, and those of changed keys above. */
const IDS = 30;

/** What a set may say of the tables: none of it may change what is published of a row. */
export interface TableChoices {
  readonly full: boolean;
  readonly omit: boolean;
  /** The same in every version, for a table keeps its way of being captured. */
  readonly statement: boolean;
}

export function chooseTables(random: Random, { seed }: { readonly seed: number }): TableChoices {
  return { full: random.chance(0.5), omit: random.chance(0.6), statement: seed % 2 === 0 };
}

/** Entries of a set file. */
export function tableEntries({ full, omit, statement }: TableChoices): readonly string[] {
  const before = full ? ', before: full' : '';
  const capture = statement ? ', capture: statement' : '';
  return [
    `name: public.item, unchanged_wide: ${omit ? 'omit' : 'include'}`,
    `name: public.ledger${before || ', unchanged_wide: omit'}`,
    `name: public.sieve, where: "n > 10 and kind in ('a', 'b')"${before}`,
    `name: public.bulk${capture}`,
    'name: public.bag, key: none',
    `name: public.tree${before}`,
    `name: public.ping${before}`,
    'name: public.phoenix, before: full',
    `name: public.purse${before}`,
    `name: public.vault${capture}`,
  ];
}

/** By table: key columns, null where rows have none; and which rows are published. */
export const TABLES: Readonly<
  Record<string, { readonly key: readonly string[] | null; readonly where?: string }>
> = {
  item: { key: ['id'] },
  ledger: { key: ['id'] },
  sieve: { key: ['id'], where: "n > 10 and kind in ('a', 'b')" },
  bulk: { key: ['id'] },
  bag: { key: null },
  tree: { key: ['id', 'kind'] },
  ping: { key: ['id'] },
  phoenix: { key: ['id'] },
  purse: { key: ['id'] },
  vault: { key: ['id'] },
};

/** For `search_path` public; no rows. Nested writes are there to be logged in another order than they happened in. */
export const SCHEMA = `
  create table item (id int primary key, n int not null default 0, note text, wide text);
  alter table item alter wide set storage external;
  create table ledger (id int primary key, n int not null default 0, note text, tags int[], doc jsonb);
  create table sieve (id int primary key, n int, kind text, note text);
  create table bulk (id int primary key, n int not null default 0, note text);
  create table bag (a int, b text);
  create table tree (id int, kind text, n int not null default 0, note text, primary key (id, kind)) partition by list (kind);
  create table tree_a partition of tree for values in ('a');
  create table tree_b partition of tree for values in ('b') partition by range (id);
  create table tree_b_low partition of tree_b for values from (minvalue) to (15);
  create table tree_b_high partition of tree_b for values from (15) to (maxvalue);
  create table tree_rest partition of tree default;
  create table ping (id int primary key, n int not null default 0);
  create table phoenix (id int primary key, n int not null default 0, life int not null default 0);
  create table purse (id int primary key, amount int not null);
  create table vault (id int primary key, amount int not null);

  -- Writes to a row that the same statement has written, or is about to.
  create function bounce() returns trigger language plpgsql as $$ begin
    if pg_trigger_depth() < 4 and new.n % 5 = 1 then
      update public.ping set n = n + 1 where id in (new.id, new.id + 1);
    elsif pg_trigger_depth() < 4 and new.n % 5 = 3 then
      delete from public.ping where id = new.id + 2;
      insert into public.ping values (new.id + 2, 4) on conflict (id) do update set n = ping.n + 1;
    end if;
    return null;
  end $$;
  create trigger bounce after insert or update on ping for each row execute function bounce();
  create function aside() returns trigger language plpgsql as $$ begin
    if pg_trigger_depth() < 3 and new.n % 7 = 3 then
      update public.ping set n = n + 1 where id = new.id - 1;
    end if;
    return new;
  end $$;
  create trigger aside before insert or update on ping for each row execute function aside();
  create function poke(which int) returns int language plpgsql volatile as $$ declare found_n int; begin
    update public.ping set n = n + 2 where id = which returning n into found_n;
    return coalesce(found_n, 0) % 100;
  end $$;

  -- Comes back while the statement that deletes it is under way, and so does its neighbour.
  create function rise() returns trigger language plpgsql as $$ begin
    if pg_trigger_depth() < 4 and old.life < 12 and old.life % 3 < 2 then
      insert into public.phoenix values (old.id + old.life % 2, old.n, old.life + 1)
        on conflict (id) do update set n = phoenix.n + 1, life = phoenix.life + 1;
    end if;
    return null;
  end $$;
  create trigger rise after delete on phoenix for each row execute function rise();
`;

export interface TortureAction {
  readonly sql: (random: Random) => string;
  readonly weight: number;
  /** It takes locks that nobody should wait for: in a transaction of its own. */
  readonly alone?: boolean;
}

const text = (random: Random) => random.text();
const id = (random: Random) => random.integer(1, IDS);
const span = (random: Random) => {
  const from = id(random);
  return `between ${from} and ${from + random.integer(0, 6)}`;
};

let tags = 0;

export const ACTIONS: readonly TortureAction[] = [
  {
    weight: 4,
    sql: (random) =>
      `insert into item (id, n, note, wide) select g, ${random.integer(0, 99)}, ${text(random)}, repeat('w', ${random.pick([10, 3000, 9000])}) from generate_series(${id(random)}, ${IDS}) g where g % 7 = ${random.integer(0, 6)}
       on conflict (id) do update set n = item.n + 1`,
  },
  {
    weight: 5,
    sql: (random) => `update item set n = n + 1, note = ${text(random)} where id ${span(random)}`,
  },
  { weight: 1, sql: (random) => `update item set wide = wide || 'x' where id = ${id(random)}` },
  {
    weight: 3,
    sql: (random) =>
      `update item set id = case when id > 1000 then id - 1000 else id + 1000 end where id % 1000 = ${id(random)}`,
  },
  { weight: 2, sql: (random) => `delete from item where id % 1000 ${span(random)}` },
  {
    weight: 4,
    sql: (random) =>
      `insert into ledger (id, n, note, tags, doc) values (${id(random)}, ${random.integer(0, 9)}, ${text(random)}, ${random.pick(["'{1,2}'", "'[0:1]={1,2}'", 'null', "'{}'"])}, ${random.pick(["'null'", 'null', `'{"a": [null, 1.50]}'`])})
       on conflict (id) do update set n = ledger.n + excluded.n, tags = excluded.tags, doc = excluded.doc`,
  },
  {
    weight: 3,
    sql: (random) => `update ledger set n = n + 1, note = ${text(random)} where id ${span(random)}`,
  },
  {
    weight: 2,
    sql: (random) =>
      `with gone as (delete from ledger where id ${span(random)} returning *) insert into ledger select id + 500, n, note, tags, doc from gone where id < 500 on conflict (id) do update set n = -1`,
  },
  {
    weight: 4,
    sql: (random) =>
      `insert into sieve select g, ${random.integer(5, 15)}, '${random.pick(['a', 'b', 'c'])}', ${text(random)} from generate_series(${id(random)}, ${IDS}) g where g % 5 = ${random.integer(0, 4)} on conflict (id) do update set n = excluded.n, kind = excluded.kind`,
  },
  {
    weight: 4,
    sql: (random) =>
      `update sieve set ${random.pick(['n = n + 1', 'n = n - 1', "kind = 'a'", "kind = 'c'", 'n = null', 'note = note', 'id = id + 40'])} where id ${span(random)} and id < 80`,
  },
  { weight: 1, sql: (random) => `delete from sieve where id % 40 = ${id(random)}` },
  {
    weight: 2,
    sql: (random) => {
      const from = id(random);
      return `copy bulk (id, n) from program $$seq ${100 + from} ${random.integer(100 + from, 280)} | awk '{print $1 "\\t" ${random.integer(0, 9)}}'$$`;
    },
  },
  { weight: 2, sql: (random) => `delete from bulk where id % ${random.integer(1, 4)} = 0` },
  {
    weight: 3,
    sql: (random) =>
      `insert into bulk select g, g, ${text(random)} from generate_series(1, ${random.pick([3, 30, 90])}) g on conflict (id) do update set n = bulk.n + 1`,
  },
  { weight: 2, sql: (random) => `update bulk set n = n + 1 where id > ${random.integer(0, 280)}` },
  {
    weight: 1,
    sql: (random) => `update bulk set id = id + 1000 where id ${span(random)}`,
  },
  {
    weight: 3,
    sql: (random) =>
      `insert into bag select ${random.pick(['null', '1', '2'])}, ${text(random)} from generate_series(1, ${random.integer(1, 3)})`,
  },
  {
    weight: 2,
    sql: (random) =>
      `update bag set a = ${random.pick(['a', '3', 'null', 'a + 1'])} where ctid in (select ctid from bag order by ctid limit ${random.integer(1, 4)})`,
  },
  {
    weight: 2,
    sql: (random) =>
      `delete from bag where ctid in (select ctid from bag order by ctid ${random.pick(['', 'desc'])} limit ${random.integer(1, 9)})`,
  },
  {
    weight: 2,
    sql: () => {
      tags += 1;
      return `select set_config('shovel.metadata', '{"tag":"tag ${tags}"}', true); insert into bag values (7, 'tag ${tags}')`;
    },
  },
  {
    weight: 4,
    sql: (random) =>
      `insert into tree (id, kind, n) select g, '${random.pick(['a', 'b', 'b', 'x', 'y'])}', 0 from generate_series(${id(random)}, ${IDS}) g where g % 6 = ${random.integer(0, 5)} on conflict (id, kind) do update set n = tree.n + 1`,
  },
  {
    weight: 3,
    sql: (random) =>
      `update tree set ${random.pick(['n = n + 1', `kind = '${random.pick(['a', 'b', 'x'])}'`, `note = ${text(random)}`, 'id = (id + 14) % 30'])} where id = ${id(random)} and kind = '${random.pick(['a', 'b', 'x', 'y'])}'`,
  },
  { weight: 1, sql: (random) => `delete from tree where id ${span(random)}` },
  {
    weight: 1,
    sql: (random) =>
      `insert into tree_b_low values (${random.integer(1, 14)}, 'b', 5, 'direct') on conflict do nothing`,
  },
  {
    weight: 3,
    sql: (random) =>
      `insert into ping select g, ${random.integer(0, 9)} from generate_series(${id(random)}, ${IDS}) g where g % 4 in (${random.integer(0, 3)}, ${random.integer(0, 3)}) order by g ${random.pick(['', 'desc'])} on conflict (id) do update set n = ping.n + 1`,
  },
  { weight: 3, sql: (random) => `update ping set n = n + ${random.integer(1, 3)} where id ${span(random)}` },
  { weight: 2, sql: (random) => `update ping set n = poke(id - 1) where id ${span(random)}` },
  { weight: 1, sql: (random) => `update ping set n = n + poke(${id(random)}) where id = ${id(random)}` },
  { weight: 1, sql: (random) => `delete from ping where id ${span(random)}` },
  {
    weight: 3,
    sql: (random) =>
      `insert into phoenix select g, g from generate_series(${id(random)}, ${IDS}) g where g % 3 > 0 on conflict (id) do nothing`,
  },
  { weight: 4, sql: (random) => `delete from phoenix where id ${span(random)}` },
  {
    weight: 2,
    sql: (random) =>
      `update phoenix set n = n + 1, life = life % 5, id = id + ${random.pick([0, 0, 100, -100])} where id % 100 = ${id(random)}`,
  },
  {
    weight: 5,
    sql: (random) => {
      const amount = random.integer(1, 50);
      const from = random.pick(['purse', 'vault']);
      const to = random.pick(['purse', 'vault']);
      return `insert into ${from} as f values (${random.integer(1, 5)}, -${amount}) on conflict (id) do update set amount = f.amount - ${amount};
              insert into ${to} as t values (${random.integer(1, 5)}, ${amount}) on conflict (id) do update set amount = t.amount + ${amount}`;
    },
  },
  {
    weight: 1,
    alone: true,
    sql: (random) =>
      `truncate ${random.pick(['item', 'ledger', 'sieve', 'bulk', 'bag', 'tree', 'tree_a', 'tree_b_low', 'tree_b', 'ping', 'phoenix', 'bulk, item', 'bag, ledger restart identity'])}`,
  },
  {
    weight: 1,
    alone: true,
    sql: (random) => {
      const table = random.pick(['item', 'bag', 'ping', 'tree', 'bulk']);
      const row = table === 'bag' ? "(1, 'after')" : table === 'tree' ? "(1, 'a')" : '(1)';
      return `truncate ${table}; insert into ${table} values ${row}; truncate ${table}; insert into ${table} values ${row}`;
    },
  },
];

/**
 * Changes to the tables themselves, each a transaction. No trigger sees what DDL does to rows, so every row is written
 * once more by it, or gone before.
 */
export function alteration(random: Random): string {
  const table = random.pick(['item', 'ledger', 'sieve', 'bulk', 'tree', 'ping', 'phoenix', 'purse', 'vault']);
  const touch = (name: string) => `update ${name} set ${name === 'bag' ? 'a = a' : 'id = id'}`;
  const kind = random.pick(['x', 'y', 'z']);
  const one = `do $$ begin if to_regclass('public.tree_${kind}') is null then
      delete from tree where kind = '${kind}';
      create table tree_${kind} (like tree including all);
      alter table tree attach partition tree_${kind} for values in ('${kind}');
    else
      delete from tree_${kind}; alter table tree detach partition tree_${kind}; drop table tree_${kind};
    end if; end $$`;
  const has = (name: string, column: string) =>
    `exists (select from pg_attribute where attrelid = 'public.${name}'::regclass and attname = '${column}' and not attisdropped)`;
  const column = (name: string) => `do $$ begin
      if not ${has(name, 'x')} and not ${has(name, 'y')} then alter table ${name} add x int;
      elsif ${random.chance(0.4)} then alter table ${name} drop column if exists x, drop column if exists y;
      elsif ${has(name, 'x')} then alter table ${name} rename x to y;
      else alter table ${name} rename y to x; end if; end $$`;
  const retyped = random.pick(['item', 'ledger', 'bulk', 'purse', 'vault']);
  const retype = (name: string, which: string) => `do $$ begin
      execute 'alter table ${name} alter ${which} type ' || (select case atttypid when 'int'::regtype then 'bigint' else 'int' end
        from pg_attribute where attrelid = 'public.${name}'::regclass and attname = '${which}'); end $$`;
  return random.pick([
    `lock table ${table}; ${column(table)}; ${touch(table)}`,
    `lock table ${table}; ${column(table)}; ${touch(table)}`,
    `lock table ${retyped}; ${retype(retyped, 'id')}; ${touch(retyped)}`,
    `lock table item; ${retype('item', 'n')}; ${touch('item')}`,
    `truncate bag; ${column('bag')}`,
    `lock table tree; ${one}`,
    `lock table tree; ${one}`,
  ]);
}
