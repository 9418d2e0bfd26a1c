/**
 * What stands in a database and in a coordinator, so that a test can say that nothing was changed: the versions of
 * every row of the catalog, every row of shovel's own schema, and every entry of the tree.
 */
import type { Coordinator } from '../../src/coordinator/coordinator.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';

const CATALOGS = [
  'pg_namespace',
  'pg_class',
  'pg_proc',
  'pg_trigger',
  'pg_constraint',
  'pg_type',
  'pg_rewrite',
];

/** `schema` is shovel's, and the prefix of its roles. Equal texts: nothing was written in between. */
export async function databaseFootprint(url: string, schema: string): Promise<string> {
  const connection = await openConnection({ dsn: url, name: 'of the test', applicationName: 'shovel test' });
  try {
    const parts: string[] = [];
    for (const catalog of CATALOGS) {
      parts.push(
        await digest(connection, `select c.oid::text || ' ' || c.xmin::text from pg_catalog.${catalog} c`),
      );
    }
    parts.push(
      await digest(
        connection,
        "select attrelid::text || ' ' || attnum || ' ' || xmin from pg_catalog.pg_attribute",
      ),
      await digest(
        connection,
        'select gid from pg_catalog.pg_prepared_xacts where database = current_database()',
      ),
      await digest(
        connection,
        `select rolname || oid from pg_catalog.pg_roles where starts_with(rolname, '${schema}')`,
      ),
      ...(await ownTables(connection, schema)),
    );
    return parts.join('\n');
  } finally {
    await connection.end();
  }
}

async function ownTables(connection: PostgresConnection, schema: string): Promise<readonly string[]> {
  const tables = await connection.query(
    `select pg_catalog.format('%I.%I', n.nspname, c.relname) as name, c.relkind = 'S' as sequence
       from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where n.nspname = $1 and c.relkind in ('r', 'S') order by 1`,
    [schema],
  );
  const parts: string[] = [];
  for (const { name, sequence } of tables) {
    const line = sequence === 't' ? "t.last_value || ' ' || t.is_called" : 't.xmin::text || t::text';
    parts.push(`${name} ${await digest(connection, `select ${line} from ${name} t`)}`);
  }
  return parts;
}

async function digest(connection: PostgresConnection, query: string): Promise<string> {
  const [row] = await connection.query(
    `select pg_catalog.md5(coalesce(pg_catalog.string_agg(line, ',' order by line), '')) as digest
       from (${query}) as lines(line)`,
  );
  return row?.digest ?? '';
}

/** Every entry from `path` down, with version and data. */
export async function coordinatorFootprint(coordinator: Coordinator, path = '/shovel'): Promise<string> {
  await coordinator.sync();
  return (await lines(coordinator, path)).join('\n');
}

async function lines(coordinator: Coordinator, path: string): Promise<readonly string[]> {
  const entry = await coordinator.read(path);
  if (entry === undefined) return [`${path} is missing`];
  const found = [`${path} ${entry.version} ${entry.data}`];
  for (const name of (await coordinator.list(path)) ?? [])
    found.push(...(await lines(coordinator, `${path}/${name}`)));
  return found;
}
