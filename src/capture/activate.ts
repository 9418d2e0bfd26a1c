/**
 * The statements that turn a prepared ground into a capturing version. They run inside one transaction of the caller,
 * which may stay prepared for long: they touch our own rows and functions alone, and replacing a function blocks
 * nobody who calls it.
 */
import { encodeCapturedTable } from '../model/captured-table.js';
import { type NodeNames, quoteIdentifier, quoteLiteral } from '../postgres/sql-files.js';
import { captureBody, captureFunction, NOTHING } from './function-body.js';
import {
  functionNames,
  functionPattern,
  positionName,
  type TriggerOperation,
  triggerOperations,
} from './generated-names.js';
import { renumberStatement, type StandingTables, standingKey } from './renumber.js';
import { columnTypes, type TableDescription } from './table-description.js';

export interface ActivationOptions {
  readonly names: NodeNames;
  readonly set: string;
  readonly version: number;
  readonly tables: readonly TableDescription[];
  readonly rowBytes: number;
  readonly streams: readonly string[];
  /** sha256 (hex), for telling whether a definition changed. */
  readonly hash: (text: string) => string;
  /** What the version before made here, as it stands: what is to stay so gets new numbers only. Default: none. */
  readonly standing?: StandingTables;
}

/** To be run as the owner role (`set local role`). */
export function activationStatements(options: ActivationOptions): readonly string[] {
  const renumbered: string[] = [];
  const made: string[] = [];
  for (const table of options.tables) {
    const bodies = bodiesOf(table, options);
    const definition = definitionOf(table, { bodies, hash: options.hash });
    const definitionHash = options.hash(definition);
    const standing = options.standing?.get(standingKey({ relid: String(table.relid), definitionHash }));
    if (standing !== undefined) renumbered.push(standing);
    else made.push(activateTable(table, { bodies, definition, definitionHash, options }));
  }
  return [
    ...(renumbered.length === 0 ? [] : [renumberStatement(renumbered, options)]),
    ...made,
    retireTables(options),
    ...options.streams.map((stream) => addStream(stream, options)),
  ];
}

type Bodies = ReadonlyMap<TriggerOperation, string>;

/** Made once for a table: with a thousand tables they take seconds. */
function bodiesOf(table: TableDescription, options: ActivationOptions): Bodies {
  return new Map(
    triggerOperations(table.captured).map((operation) => [operation, captureBody(table, operation, options)]),
  );
}

/** What captured_table keeps of the table, all bodies of its functions by their hashes among it. */
function definitionOf(
  table: TableDescription,
  { bodies, hash }: { readonly bodies: Bodies; readonly hash: ActivationOptions['hash'] },
): string {
  return encodeCapturedTable({
    ...table.captured,
    made: {
      columns: [...(table.orders[0]?.columns ?? [])],
      types: columnTypes(table),
      bodies: Object.fromEntries([...bodies].map(([operation, body]) => [operation, hash(body)])),
    },
  });
}

/** Registers the table under a new rel and makes its functions write that number. */
function activateTable(
  table: TableDescription,
  {
    bodies,
    definition,
    definitionHash,
    options,
  }: {
    readonly bodies: Bodies;
    readonly definition: string;
    readonly definitionHash: string;
    readonly options: ActivationOptions;
  },
): string {
  const schema = quoteIdentifier(options.names.schema);
  const functions = [...bodies].map(([operation, body]) =>
    captureFunction(table, operation, { names: options.names, body }),
  );
  const values = [
    quoteLiteral(options.set),
    String(options.version),
    quoteLiteral(table.captured.schema),
    quoteLiteral(table.captured.table),
    String(table.relid),
    quoteLiteral(definition),
    quoteLiteral(definitionHash),
  ];
  const execute = functions.map((sql) => `  execute replace(${quoteLiteral(sql)}, '@rel@', number::text);`);
  return `do $activate$
declare
  number integer;
begin
  insert into ${schema}.captured_table (set_name, set_version, schema_name, table_name, relid, definition, definition_hash)
    values (${values.join(', ')}) returning rel into number;
${execute.join('\n')}
end
$activate$`;
}

/**
 * Functions of tables and operations that are captured no longer do nothing from now on; their triggers go later. They
 * are known by their names: a join with captured_table, which grew in this very transaction, took minutes over 1,000
 * tables.
 */
function retireTables(options: ActivationOptions): string {
  const kept = options.tables.flatMap((table) => functionNames(table.captured));
  const schema = quoteIdentifier(options.names.schema);
  return `do $retire$
declare
  one text;
begin
  for one in
    select p.proname::text from pg_catalog.pg_proc p
    where p.pronamespace = ${quoteLiteral(schema)}::regnamespace and p.proname ~ ${quoteLiteral(functionPattern(options.set))}
      and p.prosrc <> ${quoteLiteral(NOTHING)}
    except select pg_catalog.unnest(array[${kept.map(quoteLiteral).join(', ')}]::text[])
  loop
    execute format('create or replace function ${schema.replaceAll("'", "''")}.%I() returns trigger language plpgsql security definer as %L',
      one, ${quoteLiteral(NOTHING)});
  end loop;
end
$retire$`;
}

/** A stream that is new begins at the first ticket drawn after this transaction has committed. */
function addStream(stream: string, options: ActivationOptions): string {
  const schema = quoteIdentifier(options.names.schema);
  const position = positionName(options.set, stream);
  return `do $stream$
begin
  if not exists (select from ${schema}.stream s where s.set_name = ${quoteLiteral(options.set)} and s.stream_name = ${quoteLiteral(stream)}) then
    -- Left where the row was deleted by hand.
    drop sequence if exists ${schema}.${position};
    create sequence ${schema}.${position} as bigint minvalue 0 start 0;
    perform pg_catalog.setval('${schema}.${position}', 0);
    insert into ${schema}.stream (set_name, stream_name, since_version, first_ticket, position_name)
      values (${quoteLiteral(options.set)}, ${quoteLiteral(stream)}, ${options.version},
        (select coalesce(max(t.ticket), 0) + 1 from ${schema}.ticket_${options.set} t), ${quoteLiteral(position)});
  end if;
end
$stream$`;
}
