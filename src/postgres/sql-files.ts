/**
 * Reads the SQL that ships with the package (migrations/ and sql/) and fills in its @placeholders@. A placeholder
 * stands for an identifier (schema, owner, capture: quoted here) or for a set's name, which contract.md keeps to
 * [a-z][a-z0-9_]{0,39}, so that it may stand inside names and literals.
 */
import { readFile } from 'node:fs/promises';

const ROOT = new URL('../../', import.meta.url);

/**
 * Names of the schema and the roles of a cluster, unquoted. `owner` owns what stands in the schema, `capture` the
 * functions that write the log (and may do nothing else), `sandbox` those that print rows (and may do nothing at all).
 */
export interface NodeNames {
  readonly schema: string;
  readonly owner: string;
  readonly capture: string;
  readonly sandbox: string;
}

/** `shovel` for the cluster `default`, else `shovel_<cluster>`; roles are the schema's name with a suffix. */
export function nodeNames(cluster: string): NodeNames {
  const schema = cluster === 'default' ? 'shovel' : `shovel_${cluster}`;
  return { schema, owner: `${schema}_owner`, capture: `${schema}_capture`, sandbox: `${schema}_sandbox` };
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function quoteLiteral(text: string): string {
  const quoted = `'${text.replaceAll("'", "''")}'`;
  return text.includes('\\') ? ` E${quoted.replaceAll('\\', '\\\\')}` : quoted;
}

/** `path` below the package's root, e.g. `sql/set/draw.sql`. */
export async function readSql(path: string, names: NodeNames, set?: string): Promise<string> {
  const text = await readFile(new URL(path, ROOT), 'utf8');
  return fillSql(text, names, set);
}

export function fillSql(text: string, names: NodeNames, set?: string): string {
  const values: Readonly<Record<string, string | undefined>> = {
    schema: quoteIdentifier(names.schema),
    owner: quoteIdentifier(names.owner),
    capture: quoteIdentifier(names.capture),
    sandbox: quoteIdentifier(names.sandbox),
    set,
  };
  return text.replaceAll(/@([a-z]+)@/g, (placeholder, name: string) => values[name] ?? placeholder);
}
