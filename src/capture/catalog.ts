/** Reads from the catalog what describe.ts decides on. One query for all tables of a set each. */
import type { PostgresConnection } from '../postgres/connect.js';
import type { NodeNames } from '../postgres/sql-files.js';
import type { PartType } from './pinned-settings.js';

export interface Relation {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** pg_class.relkind */
  readonly kind: string;
  /** pg_class.relpersistence */
  readonly persistence: string;
  readonly partition: boolean;
  readonly trusted: boolean;
}

export interface Column {
  readonly relid: number;
  readonly name: string;
  readonly type: string;
  readonly virtual: boolean;
  /** Its values may be kept out of line, and it may be set to null: what `unchanged_wide: omit` leaves out. */
  readonly wide: boolean;
  /** Depth 0: its own type, and what a domain is over; deeper: elements, fields, bounds. */
  readonly parts: readonly (PartType & {
    readonly depth: number;
    readonly json: 'json' | 'jsonb' | null;
    readonly array: boolean;
    /** Its JSON does not cast back: int2vector and oidvector, and whatever a cast to json makes of it. */
    readonly cast: boolean;
    readonly trusted: boolean;
    /** A domain, whose base type follows as another part. */
    readonly domain: boolean;
    readonly enumeration: boolean;
    /** How the type stands in SQL, and the schema of its comparisons; null where it has no order of single values. */
    readonly sqlType: string;
    readonly operatorSchema: string | null;
  })[];
}

export interface UniqueIndex {
  readonly relid: number;
  readonly primary: boolean;
  readonly columns: readonly string[];
}

/** A role is trusted with the log if it could read it anyway: superusers, the installer, members of the owner role. */
function trusted(role: string, owner: string): string {
  return `(select r.rolsuper or r.rolname = current_user
             or exists (select from pg_roles o where o.rolname = '${owner.replaceAll("'", "''")}' and pg_has_role(r.oid, o.oid, 'member'))
           from pg_roles r where r.oid = ${role})`;
}

/** Tables by exact name, and every ordinary or partitioned table of the schemas. */
export async function readRelations(
  connection: PostgresConnection,
  wanted: {
    readonly tables: readonly { schema: string; table: string }[];
    readonly schemas: readonly string[];
    readonly names: NodeNames;
  },
): Promise<readonly Relation[]> {
  const rows = await connection.query(
    `select c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relispartition::text as partition,
            ${trusted('c.relowner', wanted.names.owner)}::text as trusted
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind not in ('i', 'I', 'S', 't', 'c')
       and ((n.nspname, c.relname) in (select w.schema, w.table from json_to_recordset($1::json) as w(schema text, "table" text))
         or (n.nspname in (select json_array_elements_text($2::json)) and c.relkind in ('r', 'p') and not c.relispartition))
     order by n.nspname, c.relname`,
    [JSON.stringify(wanted.tables), JSON.stringify(wanted.schemas)],
  );
  return rows.map((row) => ({
    oid: Number(row.oid),
    schema: row.nspname ?? '',
    name: row.relname ?? '',
    kind: row.relkind ?? '',
    persistence: row.relpersistence ?? '',
    partition: row.partition === 'true',
    trusted: row.trusted === 'true',
  }));
}

/**
 * Columns with the base types that each is made of, at any depth. Types are taken apart once each, however many columns
 * have them: column by column it took most of the time that a thousand tables took to be looked at.
 */
export async function readColumns(
  connection: PostgresConnection,
  relids: readonly number[],
  names: NodeNames,
): Promise<readonly Column[]> {
  const rows = await connection.query(
    `with recursive wanted as materialized (
       select a.* from pg_attribute a
       where a.attrelid in (select (json_array_elements_text($1::json))::oid) and a.attnum > 0 and not a.attisdropped
     ), part(root, typid, depth, in_range) as (
       select distinct w.atttypid, w.atttypid, 0, false from wanted w
     union
       select p.root, s.typid, p.depth + s.step, p.in_range or s.in_range
       from part p join pg_type t on t.oid = p.typid
       cross join lateral (
         select t.typelem, false, 1 where t.typcategory = 'A' and t.typelem <> 0
         union all select t.typbasetype, false, 0 where t.typtype = 'd'
         union all select r.rngsubtype, true, 1 from pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)
         union all select f.atttypid, false, 1 from pg_attribute f
           where t.typtype = 'c' and f.attrelid = t.typrelid and f.attnum > 0 and not f.attisdropped
         ) s(typid, in_range, step) where p.depth < 20
     ), parts(root, parts) as materialized (
       select p.root, json_agg(json_build_object(
           'name', t.typname, 'builtin', t.oid < 16384 or t.typtype <> 'b' or t.typcategory = 'A', 'inRange', p.in_range, 'depth', p.depth,
           'json', case t.oid when 114 then 'json' when 3802 then 'jsonb' end, 'array', t.typcategory = 'A' and t.typelem <> 0 and t.typlen = -1,
           'cast', t.oid in (22, 30) or exists (select from pg_cast k where k.castsource = t.oid and k.casttarget = 114 and k.oid >= 16384),
           'trusted', ${trusted('t.typowner', names.owner)}, 'domain', t.typtype = 'd', 'enumeration', t.typtype = 'e',
           'sqlType', format('%I.%I', n.nspname, t.typname), 'operatorSchema', case when t.typtype in ('b', 'e') then (
             select quote_ident(s.nspname) from pg_operator o join pg_namespace s on s.oid = o.oprnamespace
             where o.oprname = '=' and o.oprcanmerge and o.oprleft = o.oprright
               and (o.oprleft = t.oid or t.typtype = 'e' and o.oprleft = 3500
                 or exists (select from pg_cast k where k.castsource = t.oid and k.casttarget = o.oprleft
                            and k.castmethod = 'b' and k.castcontext = 'i'))
             order by o.oprleft = t.oid desc, o.oid limit 1) end) order by p.depth)
       from part p join pg_type t on t.oid = p.typid join pg_namespace n on n.oid = t.typnamespace group by p.root
     )
     select w.attrelid as relid, w.attname, format_type(w.atttypid, w.atttypmod) as type,
            (w.attgenerated = 'v')::text as virtual,
            (w.attlen = -1 and w.attstorage in ('x', 'e') and not exists (
               select from pg_type d where d.oid = w.atttypid and d.typtype = 'd'))::text as wide,
            o.parts
     from wanted w join parts o on o.root = w.atttypid order by w.attrelid, w.attnum`,
    [JSON.stringify(relids.map(String))],
  );
  const known = new Map<string, Column['parts']>();
  const decode = (text: string): Column['parts'] => {
    const parts = known.get(text) ?? (JSON.parse(text) as Column['parts']);
    known.set(text, parts);
    return parts;
  };
  return rows.map((row) => ({
    relid: Number(row.relid),
    name: row.attname ?? '',
    type: row.type ?? '',
    virtual: row.virtual === 'true',
    wide: row.wide === 'true',
    parts: decode(row.parts ?? '[]'),
  }));
}

export interface TableColumns {
  /** Names of all columns, virtual ones too, in the table's own order. */
  readonly names: readonly string[];
  /** What columns_are takes for the table's name and theirs. */
  readonly digest: string;
}

export async function readTableColumns(
  connection: PostgresConnection,
  relids: readonly number[],
): Promise<ReadonlyMap<number, TableColumns>> {
  const rows = await connection.query(
    `select a.attrelid, json_agg(a.attname order by a.attnum) filter (where not a.attisdropped) as names,
            md5(rtrim(concat(quote_literal(n.nspname), ',', quote_literal(c.relname),
              string_agg(concat(',', case when not a.attisdropped then quote_literal(a.attname) end), '' order by a.attnum)), ',')) as digest
     from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
     where a.attrelid in (select (json_array_elements_text($1::json))::oid) and a.attnum > 0
     group by a.attrelid, n.nspname, c.relname`,
    [JSON.stringify(relids.map(String))],
  );
  return new Map(
    rows.map((row) => [
      Number(row.attrelid),
      {
        names: JSON.parse(row.names ?? '[]') as readonly string[],
        digest: row.digest ?? '',
      },
    ]),
  );
}

/**
 * What stands in the way of statement triggers, in words that follow "it": transition tables miss writes that go
 * straight to partitions and children, and can't tell the order of writes nested in triggers and cascades.
 */
export async function readStatementObstacles(
  connection: PostgresConnection,
  relids: readonly number[],
  names: NodeNames,
): Promise<ReadonlyMap<number, readonly string[]>> {
  if (relids.length === 0) return new Map();
  const rows = await connection.query(
    `with recursive wanted(oid) as (select (json_array_elements_text($1::json))::oid),
       cascade(start, at) as (
         select k.confrelid, k.conrelid from pg_constraint k
         where k.contype = 'f' and (k.confupdtype in ('c', 'n', 'd') or k.confdeltype in ('c', 'n', 'd'))
           and k.confrelid in (select oid from wanted)
       union
         select c.start, k.conrelid from cascade c join pg_constraint k on k.confrelid = c.at
         where k.contype = 'f' and (k.confupdtype in ('c', 'n', 'd') or k.confdeltype in ('c', 'n', 'd')))
     select w.oid, case when c.relkind = 'p' then 'is partitioned' end as partitioned,
       case when exists (select from pg_inherits i where w.oid in (i.inhrelid, i.inhparent)) and c.relkind <> 'p'
            then 'is a partition, or part of an inheritance tree' end as inherits,
       (select 'has another trigger, ' || t.tgname from pg_trigger t join pg_proc p on p.oid = t.tgfoid
        join pg_namespace n on n.oid = p.pronamespace
        where t.tgrelid = w.oid and not t.tgisinternal and n.nspname <> $2 and t.tgtype::int & 28 <> 0
        order by t.tgname limit 1) as trigger,
       case when exists (select from cascade k where k.start = w.oid and k.at = w.oid)
            then 'is changed by the cascades of its own changes' end as cascades
     from wanted w join pg_class c on c.oid = w.oid`,
    [JSON.stringify(relids.map(String)), names.schema],
  );
  return new Map(
    rows.map((row) => [
      Number(row.oid),
      [row.partitioned, row.inherits, row.trigger, row.cascades].filter((one) => typeof one === 'string'),
    ]),
  );
}

/** Indexes that may serve as a key: unique, valid, immediate, whole, of plain columns that are not null. */
export async function readUniqueIndexes(
  connection: PostgresConnection,
  relids: readonly number[],
): Promise<readonly UniqueIndex[]> {
  const rows = await connection.query(
    `select i.indrelid, i.indisprimary::text as primary,
            (select json_agg(a.attname order by k.n) from unnest(i.indkey) with ordinality k(attnum, n)
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum where k.n <= i.indnkeyatts) as columns
     from pg_index i join pg_class c on c.oid = i.indexrelid
     where i.indrelid in (select (json_array_elements_text($1::json))::oid)
       and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null
       and not exists (select from unnest(i.indkey) with ordinality k(attnum, n)
                       join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                       where k.n <= i.indnkeyatts and not a.attnotnull)
     order by i.indrelid, i.indisprimary desc, i.indnkeyatts, c.relname`,
    [JSON.stringify(relids.map(String))],
  );
  return rows.map((row) => ({
    relid: Number(row.indrelid),
    primary: row.primary === 'true',
    columns: JSON.parse(row.columns ?? '[]') as readonly string[],
  }));
}

/**
 * Every partition below each root, in oid order: the order in which locks are taken. Asks the catalog alone, where
 * pg_partition_tree would lock each partition until the last one is free.
 */
export async function readPartitions(
  connection: PostgresConnection,
  roots: readonly number[],
): Promise<readonly { root: number; relid: number; schema: string; table: string }[]> {
  const rows = await connection.query(
    `with recursive below (root, relid) as (
       select r.root, r.root from (select (json_array_elements_text($1::json))::oid as root) r
     union all
       select b.root, i.inhrelid from below b join pg_inherits i on i.inhparent = b.relid and not i.inhdetachpending
     )
     select b.root, c.oid, n.nspname, c.relname
     from below b join pg_class c on c.oid = b.relid join pg_namespace n on n.oid = c.relnamespace
     where b.relid <> b.root order by c.oid`,
    [JSON.stringify(roots.map(String))],
  );
  return rows.map((row) => ({
    root: Number(row.root),
    relid: Number(row.oid),
    schema: row.nspname ?? '',
    table: row.relname ?? '',
  }));
}
