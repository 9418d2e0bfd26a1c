/**
 * A table that stays captured keeps its way of being captured. In a statement that is under way while the version
 * changes, row triggers run first and statement triggers after them: rows that came by before the change would be left to
 * the one, which is then off, or be captured by both.
 */
import type { CatalogIssue, TableDescription } from '../capture/table-description.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { type NodeNames, quoteIdentifier } from '../postgres/sql-files.js';

/** What tables of the version that a node has would get another way of. */
export async function changedModes(
  connection: PostgresConnection,
  {
    names,
    set,
    version,
    tables,
  }: {
    readonly names: NodeNames;
    readonly set: string;
    readonly version: number;
    readonly tables: readonly TableDescription[];
  },
): Promise<readonly CatalogIssue[]> {
  const rows = await connection.query(
    `select c.relid, coalesce(c.definition::json ->> 'capture', 'row') as mode
     from ${quoteIdentifier(names.schema)}.captured_table c where c.set_name = $1 and c.set_version = $2`,
    [set, String(version)],
  );
  const modes = new Map(rows.map((row) => [Number(row.relid), row.mode ?? 'row']));
  return tables.flatMap(({ relid, captured }) => {
    const before = modes.get(relid);
    const after = captured.capture ?? 'row';
    if (before === undefined || before === after) return [];
    const table = `${captured.schema}.${captured.table}`;
    return [
      {
        table,
        code: 'capture_mode_kept',
        message: `Table ${table} is captured by ${before}; statements that are under way would be captured in part if it changed to ${after}.`,
        hint: `Keep capture: ${before}; or, while nobody writes to it, take the table out of the set and in again.`,
      },
    ];
  });
}
