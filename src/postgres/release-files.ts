/**
 * The SQL of this release: migrations, which every database runs once and which never change once they are released,
 * and functions, which are made again where their text has changed. `installed_file` in the node's schema says what
 * was run there, by which release, and what a node at that level asks of those who work with it.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { releaseVersion } from '../runtime/release.js';
import { fillSql, type NodeNames, quoteIdentifier, quoteLiteral } from './sql-files.js';

const ROOT = new URL('../../', import.meta.url);

/** A file of this release as it would be run in one database. */
export interface SqlFile {
  /** Below the package's root; of a set's own functions with the set's name: `sql/set/<set>/draw.sql`. */
  readonly path: string;
  readonly sql: string;
  /** sha256 of the file as shipped, so that all databases have the same. */
  readonly checksum: string;
  /** The oldest release that can work with a node on which this was run; null where any can. */
  readonly minimumRelease: string | null;
}

export interface Release {
  readonly version: string;
  readonly migrations: readonly SqlFile[];
  readonly functions: readonly SqlFile[];
}

export async function readRelease(names: NodeNames): Promise<Release> {
  const [migrations, functions] = await Promise.all([
    readFolder('migrations', names),
    readFolder('sql/functions', names),
  ]);
  return { version: releaseVersion(), migrations, functions };
}

/** A file of `sql/set/`, for one set. */
export async function readSetFile(file: string, names: NodeNames, set: string): Promise<SqlFile> {
  const text = await readFile(new URL(`sql/set/${file}.sql`, ROOT), 'utf8');
  return sqlFile(`${setFilePrefix(set)}${file}.sql`, { text, names, set });
}

/** Begins the path of every file that was run for that set. */
function setFilePrefix(set: string): string {
  return `sql/set/${set}/`;
}

/** To be run as the owner role, in the transaction that runs the file. */
export function noteFile(file: Omit<SqlFile, 'sql'>, names: NodeNames): string {
  const values = [file.path, file.checksum, releaseVersion(), file.minimumRelease];
  return `insert into ${quoteIdentifier(names.schema)}.installed_file as f (path, checksum, release, minimum_release)
  values (${values.map((value) => (value === null ? 'null' : quoteLiteral(value))).join(', ')})
  on conflict (path) do update set checksum = excluded.checksum, release = excluded.release,
    minimum_release = excluded.minimum_release, installed_at = pg_catalog.now()`;
}

async function readFolder(folder: string, names: NodeNames): Promise<readonly SqlFile[]> {
  const files = (await readdir(new URL(`${folder}/`, ROOT))).filter((file) => file.endsWith('.sql')).sort();
  return Promise.all(
    files.map(async (file) => {
      const path = `${folder}/${file}`;
      return sqlFile(path, { text: await readFile(new URL(path, ROOT), 'utf8'), names });
    }),
  );
}

function sqlFile(
  path: string,
  { text, names, set }: { readonly text: string; readonly names: NodeNames; readonly set?: string },
): SqlFile {
  return {
    path,
    sql: fillSql(text, names, set),
    checksum: createHash('sha256').update(text).digest('hex'),
    minimumRelease: /^--! minimum-version: *(\S+)/m.exec(text)?.[1] ?? null,
  };
}
