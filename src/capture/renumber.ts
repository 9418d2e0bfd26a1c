/**
 * Capture functions that a new version leaves as they are, but for the number that they write: each mutation carries
 * the version under which it was captured, so every version has numbers of its own. They are made anew from the text
 * that stands in the database, without sending or checking it again.
 *
 * Maintained invariant: afterwards a function's text is, to the letter, what activation would have made of its table.
 * That is settled by hashes: the definition's, which holds those of all bodies, and the bodies' that stand there.
 */
import type { PostgresConnection } from '../postgres/connect.js';
import { type NodeNames, quoteIdentifier, quoteLiteral } from '../postgres/sql-files.js';

/** What stands around the number of a table's row in captured_table wherever a body names it. */
const AROUND = [
  ['values (', ', '],
  ['select ', ', s.p, '],
] as const;

/** The text of a function as it was before the number was put in; `prosrc` as pg_proc has it. */
export function bodyWithoutNumber(prosrc: string, rel: string): string {
  return AROUND.reduce(
    (text, [before, after]) => text.replaceAll(`${before}${rel}${after}`, `${before}@rel@${after}`),
    prosrc.slice(1, -1),
  );
}

/** SQL: `text` with one number in the place of another; all three are SQL too. */
function exchanged(text: string, { from, to }: { readonly from: string; readonly to: string }): string {
  return AROUND.reduce(
    (sql, [before, after]) =>
      `pg_catalog.replace(${sql}, '${before}' || ${from} || '${after}', '${before}' || ${to} || '${after}')`,
    text,
  );
}

/** Rows of captured_table by `standingKey`. */
export type StandingTables = ReadonlyMap<string, string>;

export function standingKey(table: { readonly relid: string; readonly definitionHash: string }): string {
  return `${table.relid} ${table.definitionHash}`;
}

export interface StandingOptions {
  readonly names: NodeNames;
  readonly set: string;
  /** The version that is to come. */
  readonly version: number;
}

/**
 * Tables of the version before whose functions all stand as that version made them: whoever needs just these, by their
 * definition, need not make them again. A function that was replaced by hand takes its table out.
 */
export async function readStandingTables(
  connection: PostgresConnection,
  { names, set, version }: StandingOptions,
): Promise<StandingTables> {
  const schema = quoteIdentifier(names.schema);
  const body = exchanged('pg_catalog.substr(p.prosrc, 2, pg_catalog.length(p.prosrc) - 2)', {
    from: 'c.rel',
    to: `'@rel@'`,
  });
  // Function by function, and each by its name: with statistics of before the set, a join goes through all pairs.
  const rows = await connection.query(
    `select c.rel, c.relid, c.definition_hash from ${schema}.captured_table c
     where c.set_name = $1 and c.set_version = (
         select max(o.set_version) from ${schema}.captured_table o where o.set_name = $1 and o.set_version < $2::integer)
       and not exists (
         select from pg_catalog.json_each_text(c.definition::json -> 'made' -> 'bodies') b (operation, hash)
         where b.hash is distinct from (
           select pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(${body}, 'UTF8')), 'hex') from pg_catalog.pg_proc p
           where p.proname = ((c.definition::json ->> 'base') || '_' || b.operation)::name
             and p.pronamespace = $3::regnamespace and p.pronargs = 0))`,
    [set, String(version), schema],
  );
  return new Map(
    rows.map((row) => [
      standingKey({ relid: row.relid ?? '', definitionHash: row.definition_hash ?? '' }),
      row.rel ?? '',
    ]),
  );
}

/** To be run as the owner role, in the transaction that activates the version. `rels` come from readStandingTables. */
export function renumberStatement(
  rels: readonly string[],
  { names, version }: Omit<StandingOptions, 'set'>,
): string {
  const schema = quoteIdentifier(names.schema);
  const body = exchanged('body', { from: 'one.rel', to: 'number' });
  return `do $renumber$
declare
  checked constant text := pg_catalog.current_setting('check_function_bodies');
  one record;
  operation text;
  name text;
  body text;
  number integer;
begin
  -- Only the number is another than when they were checked.
  perform pg_catalog.set_config('check_function_bodies', 'off', true);
  for one in
    select c.rel, c.definition::json as definition from ${schema}.captured_table c
    where c.rel = any (array[${rels.join(', ')}]::integer[]) order by c.rel
  loop
    insert into ${schema}.captured_table (set_name, set_version, schema_name, table_name, relid, definition, definition_hash)
      select c.set_name, ${version}, c.schema_name, c.table_name, c.relid, c.definition, c.definition_hash
      from ${schema}.captured_table c where c.rel = one.rel returning rel into number;
    for operation in select o.key from pg_catalog.json_object_keys(one.definition -> 'made' -> 'bodies') o (key) loop
      name := (one.definition ->> 'base') || '_' || operation;
      select p.prosrc into strict body from pg_catalog.pg_proc p
        where p.proname = name::name and p.pronamespace = ${quoteLiteral(schema)}::regnamespace and p.pronargs = 0;
      execute pg_catalog.format('create or replace function %I.%I() returns trigger language plpgsql security definer as %L',
        ${quoteLiteral(names.schema)}, name, ${body});
    end loop;
  end loop;
  perform pg_catalog.set_config('check_function_bodies', checked, true);
end
$renumber$`;
}
