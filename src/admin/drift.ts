/**
 * Whether a node still captures what a description of its tables asks for: the functions, word for word, as they would
 * be made now under the version that they were made for. Sees DDL since then, and functions replaced by hand.
 */
import { activationStatements } from '../capture/activate.js';
import { planGround } from '../capture/ground.js';
import type { SetConfiguration } from '../model/set-configuration.js';
import { quoteIdentifier, quoteLiteral } from '../postgres/sql-files.js';
import { type AdminContext, GIVE_UP_MS, namesOf } from './context.js';
import type { SurveyedNode } from './survey.js';

/** Reads only. `node.row` stands. */
export async function hasDrifted(
  context: AdminContext,
  { node, configuration }: { node: SurveyedNode; configuration: SetConfiguration },
): Promise<boolean> {
  const names = namesOf(context);
  const { connection, row, tables } = node;
  if (!row) return true;
  const ground = await planGround(connection, {
    names,
    set: configuration.name,
    tables,
    lockTimeoutMs: context.lockTimeoutMs,
    giveUpMs: context.giveUpMs ?? GIVE_UP_MS,
    waiting: context.say,
  });
  if (ground.length > 0) return true;
  const captured = await connection.query(
    `select c.relid, c.schema_name, c.table_name, c.rel from ${quoteIdentifier(names.schema)}.captured_table c
     where c.set_name = $1 and c.set_version = $2`,
    [configuration.name, String(row.version)],
  );
  if (captured.length !== tables.length) return true;
  for (const table of tables) {
    const found = captured.find((one) => one.relid === String(table.relid));
    const { schema, table: name } = table.captured;
    if (found?.schema_name !== schema || found.table_name !== name) return true;
    const [statement = ''] = activationStatements({
      names,
      set: configuration.name,
      version: row.version,
      tables: [table],
      rowBytes: configuration.limits.rowBytes,
      streams: [],
      hash: () => '',
    });
    for (const source of await sources(connection, { schema: names.schema, base: table.captured.base })) {
      // The statement holds the function's text as a literal, with its number still to be filled in.
      const text = quoteLiteral(source.replaceAll(`values (${found.rel},`, 'values (@rel@,')).trim();
      if (!statement.includes(text.replace(/^E?'|'$/g, ''))) return true;
    }
  }
  return false;
}

async function sources(
  connection: SurveyedNode['connection'],
  { schema, base }: { schema: string; base: string },
): Promise<readonly string[]> {
  const rows = await connection.query(
    `select p.prosrc from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     where n.nspname = $1 and p.proname in ($2 || '_i', $2 || '_u', $2 || '_d', $2 || '_t')`,
    [schema, base],
  );
  return rows.map((row) => row.prosrc ?? '');
}
