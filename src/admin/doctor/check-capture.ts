/** Whether capture is as its version made it, what the relay met that was not, and where it would cost less. */
import { type CaptureFinding, inspectCapture } from '../../capture/inspect.js';
import type { TableConfiguration } from '../../model/set-configuration.js';
import { quoteIdentifier } from '../../postgres/sql-files.js';
import { sha256Hex } from '../../runtime/hash.js';
import { readDrift } from '../node-rows.js';
import { type Finding, type FindingCode, finding } from './finding.js';
import { ageText, type SetProbe } from './probe.js';

export async function checkCapture(probe: SetProbe): Promise<readonly Finding[]> {
  const { connection, names, document, object } = probe;
  const found = await inspectCapture(connection, {
    names,
    set: document.set,
    version: document.version,
    configuration: document.configuration,
    hash: sha256Hex,
  });
  return found.map((one: CaptureFinding) => ({ ...one, object: `${object} ${one.object}` }));
}

const MARKS: Readonly<Record<string, readonly [FindingCode, string]>> = {
  f: [
    'rows_by_fallback',
    'were captured whole, because the table is not what it was when capture was made for it',
  ],
  o: ['rows_oversized', 'were larger than limits.row_bytes and captured by their key alone'],
  u: ['rows_unreadable', 'have no JSON and were captured by their key alone'],
};

/** What the relay met in the log of this version. */
export async function checkDrift(probe: SetProbe): Promise<readonly Finding[]> {
  const { connection, names, document, object } = probe;
  const drift = await readDrift(connection, { names, set: document.set, version: document.version });
  return drift.flatMap(({ table, mark, mutations, secondsAgo }) => {
    const known = MARKS[mark];
    if (!known) return [];
    const [code, what] = known;
    const upgrade = `shovel set upgrade ${document.set} FILE`;
    return [
      finding(code, {
        object: `${object} ${table}`,
        message: `Rows of ${table} that ${what}: ${mutations}; the last ${ageText(secondsAgo)} ago.`,
        fix:
          mark === 'o'
            ? `Raise limits.row_bytes, or exclude the wide column, then: ${upgrade}; see docs/doctor.md for the stream`
            : upgrade,
      }),
    ];
  });
}

/** From this much out of line a row on. */
const WIDE_BYTES = 2000;

/** Updates that leave wide columns alone cost most of all; `omit` leaves those out. */
export async function checkWide(probe: SetProbe): Promise<readonly Finding[]> {
  const { connection, names, document, object, thresholds } = probe;
  const rows = await connection.query(
    `select t.schema_name, t.table_name, s.n_tup_upd as updates,
       pg_catalog.pg_relation_size(c.reltoastrelid) / greatest(s.n_live_tup, 1) as wide
     from ${quoteIdentifier(names.schema)}.captured_table t
     join pg_catalog.pg_class c on c.oid = t.relid join pg_catalog.pg_stat_user_tables s on s.relid = c.oid
     where t.set_name = $1 and t.set_version = $2 and c.reltoastrelid <> 0 and s.n_tup_upd >= $3
       and s.n_tup_upd * 10 >= s.n_tup_ins and s.n_live_tup > 0
       and pg_catalog.pg_relation_size(c.reltoastrelid) / greatest(s.n_live_tup, 1) >= $4
     order by 1, 2`,
    [document.set, String(document.version), String(thresholds.updates), String(WIDE_BYTES)],
  );
  return rows.flatMap((row) => {
    const schema = row.schema_name ?? '';
    const table = row.table_name ?? '';
    const entry = entryOf(document.configuration.tables, { schema, table });
    const takesOmit =
      entry?.unchangedWide === 'include' &&
      entry.before === 'key' &&
      entry.key !== 'none' &&
      entry.capture === 'row';
    if (!takesOmit) return [];
    return [
      finding('unchanged_wide_pays', {
        object: `${object} ${schema}.${table}`,
        message: `Table ${schema}.${table} has had ${row.updates} updates and keeps ${row.wide} bytes a row out of line: each update logs them, changed or not.`,
        fix: `unchanged_wide: omit for ${schema}.${table} in the set file, if readers keep what they have; then: shovel set upgrade ${document.set} FILE`,
      }),
    ];
  });
}

function entryOf(
  tables: readonly TableConfiguration[],
  { schema, table }: { schema: string; table: string },
): TableConfiguration | undefined {
  const ofSchema = tables.filter((one) => one.name.schema === schema);
  return ofSchema.find((one) => one.name.table === table) ?? ofSchema.find((one) => one.name.table === '*');
}
