/**
 * At which level the schema of a node is, held against this release. A level is a set of migrations: what callers and
 * functions need of each other changes with a migration or not at all. Decides who may work with a node:
 *
 *   newer    migrations that this release does not know: allowed from the release on that the newest of them names
 *   current  what this release ships; functions may still be of another text
 *   older    some are still to be run: `shovel cluster upgrade`
 *
 * Maintained invariant: nobody writes to, or publishes from, a node that is older than the release that does it, or
 * that asks for a newer one.
 */
import { IntegrityError, RefusedError } from '../errors.js';
import { compareReleases, newestRelease } from '../model/release-order.js';
import type { PostgresConnection } from './connect.js';
import { type Release, readRelease, type SqlFile } from './release-files.js';
import { type NodeNames, quoteIdentifier } from './sql-files.js';

export interface NodeLevel {
  /** Checksums by path, of all that was run there. */
  readonly installed: ReadonlyMap<string, string>;
  /** The newest release that ran anything there; null on a node from before that was noted. */
  readonly release: string | null;
  /** The oldest release that can work with it; null where any can. */
  readonly minimumRelease: string | null;
  /** Migrations that this release does not know. */
  readonly unknown: readonly string[];
  /** Migrations of this release that are still to be run. */
  readonly pending: readonly SqlFile[];
  /** Migrations that were run there in another text than this release has. */
  readonly changed: readonly SqlFile[];
  /** Whether it is noted there which release ran what: later than the first migration. */
  readonly noted: boolean;
}

/** Undefined where the schema is missing. */
export async function readNodeLevel(
  connection: PostgresConnection,
  { names, release }: { readonly names: NodeNames; readonly release?: Release },
): Promise<NodeLevel | undefined> {
  if (!(await nodeSchemaExists(connection, names))) return undefined;
  const { migrations } = release ?? (await readRelease(names));
  // The columns came later than the table: read so, a node without them has nulls there.
  const rows = await connection.query(
    `select f.path, f.checksum, pg_catalog.to_jsonb(f) ->> 'release' as release,
       pg_catalog.to_jsonb(f) ->> 'minimum_release' as minimum_release, pg_catalog.to_jsonb(f) ? 'release' as noted
     from ${quoteIdentifier(names.schema)}.installed_file f`,
  );
  const installed = new Map(rows.map((row) => [row.path ?? '', row.checksum ?? '']));
  return {
    installed,
    release: newestRelease(rows.map((row) => row.release)),
    minimumRelease: newestRelease(rows.map((row) => row.minimum_release)),
    unknown: [...installed.keys()].filter(
      (path) => path.startsWith('migrations/') && !migrations.some((file) => file.path === path),
    ),
    pending: migrations.filter((file) => !installed.has(file.path)),
    changed: migrations.filter((file) => (installed.get(file.path) ?? file.checksum) !== file.checksum),
    noted: rows.some((row) => row.noted === 't'),
  };
}

/**
 * For those who read a node, or write what any release knows. Undefined where the schema is missing.
 * @throws RefusedError `schema_newer`; IntegrityError `migration_changed`
 */
export async function requireReadableNode(
  connection: PostgresConnection,
  names: NodeNames,
): Promise<NodeLevel | undefined> {
  const release = await readRelease(names);
  const level = await readNodeLevel(connection, { names, release });
  if (level === undefined) return undefined;
  const { minimumRelease, unknown, pending } = level;
  const refused = minimumRelease !== null && compareReleases(release.version, minimumRelease) < 0;
  // Two branches of development met here: neither knows what the other needs.
  const strange = unknown.length > 0 && (minimumRelease === null || pending.length > 0);
  if (refused || strange) throw nodeNewer(connection, { names, level, release });
  refuseChanged(connection, { names, level });
  return level;
}

/**
 * For those who change a node or publish from it. Undefined where the schema is missing.
 * @throws RefusedError `schema_older`, `schema_newer`; IntegrityError `migration_changed`
 */
export async function requireCurrentNode(
  connection: PostgresConnection,
  names: NodeNames,
): Promise<NodeLevel | undefined> {
  const level = await requireReadableNode(connection, names);
  if (level === undefined || (level.pending.length === 0 && level.noted)) return level;
  const files = level.pending.map((file) => file.path.replace('migrations/', ''));
  const lacks = files.length === 0 ? '' : `: it lacks ${files.join(', ')}`;
  throw new RefusedError(
    'schema_older',
    `Schema ${names.schema} of ${connection.display} is older than this release${lacks}.`,
    {
      hint: 'Run shovel cluster upgrade with this release; relays of older ones go on meanwhile.',
      details: { schema: names.schema, pending: files },
    },
  );
}

/**
 * For those who would make the schema anew where it is: that may only go forward.
 * @throws RefusedError `schema_newer`; IntegrityError `migration_changed`
 */
export function requireOlderNode(
  connection: PostgresConnection,
  { names, level, release }: { names: NodeNames; level: NodeLevel; release: Release },
): void {
  const newer =
    level.unknown.length > 0 ||
    (level.release !== null && compareReleases(level.release, release.version) > 0);
  if (newer) throw nodeNewer(connection, { names, level, release });
  refuseChanged(connection, { names, level });
}

function refuseChanged(
  connection: PostgresConnection,
  { names, level }: { names: NodeNames; level: NodeLevel },
): void {
  const [file] = level.changed;
  if (file === undefined) return;
  throw new IntegrityError(
    'migration_changed',
    `Schema ${names.schema} of ${connection.display} was made by another text of ${file.path}.`,
    { hint: 'Install the package again: a released migration never changes.' },
  );
}

function nodeNewer(
  connection: PostgresConnection,
  { names, level, release }: { names: NodeNames; level: NodeLevel; release: Release },
): RefusedError {
  const by = level.release === null ? 'a newer release' : `release ${level.release}`;
  const least = level.minimumRelease ?? level.release;
  return new RefusedError(
    'schema_newer',
    `Schema ${names.schema} of ${connection.display} was made by ${by}; this is ${release.version}.`,
    {
      hint: least === null ? 'Use that release, or a later one.' : `Use release ${least} or a later one.`,
      details: {
        schema: names.schema,
        release: release.version,
        node_release: level.release,
        minimum_release: level.minimumRelease,
        unknown: level.unknown,
      },
    },
  );
}

/** Whether the schema stands and is ours. */
export async function nodeSchemaExists(connection: PostgresConnection, names: NodeNames): Promise<boolean> {
  const rows = await connection.query('select pg_catalog.to_regclass($1)::oid as found', [
    `${quoteIdentifier(names.schema)}.installed_file`,
  ]);
  return rows[0]?.found !== null;
}
