/**
 * Which functions capture a table: those that it has, whatever it is called by now, and no other table's.
 *
 * Invariant: while a version is decided, a table that stays captured goes from one text of its functions to the next,
 * and never from one function to another: a row that a statement is writing at that moment would be in the log twice,
 * or in none. And no trigger ever calls the functions of another table, which would log its rows as that table's.
 */
import type { QualifiedName } from '../model/set-configuration.js';
import type { PostgresConnection } from '../postgres/connect.js';
import type { NodeNames } from '../postgres/sql-files.js';
import { NOTHING } from './function-body.js';
import { functionBase, functionPattern } from './generated-names.js';

export interface FunctionBases {
  /** What the names of a table's functions begin with. */
  of(relid: number, name: QualifiedName): string;
}

interface ExistingBase {
  readonly base: string;
  /** One of its functions does something. */
  live: boolean;
  /** How many triggers each table has that call them; clones on partitions are left out. */
  readonly triggers: Map<number, { count: number; readonly partitioned: boolean }>;
}

/** By the catalog alone, so that it holds in a restored database too, whose tables have got other oids. */
export async function readFunctionBases(
  connection: PostgresConnection,
  { names, set }: { readonly names: NodeNames; readonly set: string },
): Promise<FunctionBases> {
  const existing = await readExisting(connection, { names, set });
  const owners = new Map(existing.map((one) => [one.base, ownerOf(one)]));
  const live = new Set(existing.filter((one) => one.live).map(({ base }) => base));
  return {
    of(relid, name) {
      const own = existing.filter(({ base }) => owners.get(base) === relid);
      const standing = own.find((one) => one.live) ?? own[0];
      if (standing) return standing.base;
      for (let attempt = 0; ; attempt += 1) {
        const base = functionBase(set, name, attempt);
        // Live functions without a trigger are those of a table that was dropped.
        if (owners.get(base) === undefined && !live.has(base)) return base;
      }
    },
  };
}

/** Partitions have triggers on TRUNCATE too, those that were detached keep them, and a copied table may have brought some. */
function ownerOf({ triggers }: ExistingBase): number | undefined {
  const [most] = [...triggers].sort(
    ([a, one], [b, other]) =>
      other.count - one.count || Number(other.partitioned) - Number(one.partitioned) || a - b,
  );
  return most?.[0];
}

async function readExisting(
  connection: PostgresConnection,
  { names, set }: { names: NodeNames; set: string },
): Promise<readonly ExistingBase[]> {
  // By its length, for a long text would have to be fetched to be compared, thousands of times.
  const functions = await connection.query(
    `select p.oid, p.proname, (pg_catalog.octet_length(p.prosrc) <> pg_catalog.octet_length($3))::text as live from pg_catalog.pg_proc p
     join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     where n.nspname = $1 and p.proname ~ $2 order by p.proname`,
    [names.schema, functionPattern(set), NOTHING],
  );
  if (functions.length === 0) return [];
  const found = new Map<string, ExistingBase>();
  const byFunction = new Map<string, ExistingBase>();
  for (const row of functions) {
    const base = (row.proname ?? '').slice(0, -2);
    const one: ExistingBase = found.get(base) ?? { base, live: false, triggers: new Map() };
    one.live ||= row.live === 'true';
    found.set(base, one);
    byFunction.set(row.oid ?? '', one);
  }
  // Joined here: the server's statistics may be of before the set was made, and it would go through all pairs.
  const triggers = await connection.query(
    `select t.tgfoid, t.tgrelid, c.relkind from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid
     where not t.tgisinternal and t.tgparentid = 0`,
  );
  for (const row of triggers) {
    const counts = byFunction.get(row.tgfoid ?? '')?.triggers;
    const count = counts?.get(Number(row.tgrelid))?.count ?? 0;
    counts?.set(Number(row.tgrelid), { count: count + 1, partitioned: row.relkind === 'p' });
  }
  return [...found.values()];
}
