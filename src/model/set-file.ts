/**
 * Set files: YAML text to configuration, or everything that is wrong with it at once, each with its place. Decides
 * what is reported and where; the parts are in set-file-*.ts: source (YAML), schema (shapes), rules (between values),
 * build (defaults), stored (canonical JSON).
 */
import { ConfigurationError } from '../errors.js';
import { parseTableName } from './names.js';
import type { SetConfiguration } from './set-configuration.js';
import { checkSetFile } from './set-file-check.js';
import type { Finding } from './set-file-issues.js';
import { formatPath } from './set-file-path.js';
import { type Place, readSource, type Source } from './set-file-source.js';

/** A mistake in a set file. Line and column count from 1; `path` is like `tables[0].columns[1]`, empty at the top. */
export interface Issue {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly path: string;
  readonly message: string;
  readonly hint?: string;
}

export type ParsedSetFile =
  | {
      readonly configuration: SetConfiguration;
      /** Where each entry of `tables` has its name, by `schema.table` or `schema.*`, unquoted. */
      readonly tablePlaces: ReadonlyMap<string, Place>;
      readonly issues?: never;
    }
  | { readonly issues: readonly Issue[]; readonly configuration?: never };

/**
 * `file` is how the file is called in issues; `name` the set's name where the command gives one, needed where the
 * file names none. Issues come in the order of the file.
 */
export function parseSetFile(
  text: string,
  options: { readonly file: string; readonly name?: string },
): ParsedSetFile {
  const { file, name } = options;
  const source = readSource(text);
  if (source.data === null && source.problems.length === 0) {
    const hint = 'it begins with name, databases, tables';
    return { issues: [{ file, line: 1, column: 1, path: '', message: 'the file is empty', hint }] };
  }
  const checked = checkSetFile(source.data, name === undefined ? {} : { name });
  if ('configuration' in checked && source.problems.length === 0) {
    return { configuration: checked.configuration, tablePlaces: placesOfTables(source) };
  }
  const problems: Issue[] = source.problems.map(({ path, ...problem }) => ({
    file,
    path: formatPath(path),
    ...problem,
  }));
  const findings = 'findings' in checked ? checked.findings : [];
  const told = new Set(
    source.problems.filter(({ path }) => path.length > 0).map(({ path }) => formatPath(path)),
  );
  const known = findings.filter(
    (finding) => !(source.broken && finding.missing === true) && !told.has(formatPath(finding.path)),
  );
  return { issues: inOrder([...problems, ...known.map((finding) => placed(finding, { file, source }))]) };
}

function placesOfTables(source: Source): ReadonlyMap<string, Place> {
  const places = new Map<string, Place>();
  const { data } = source;
  const tables: unknown = typeof data === 'object' && data !== null && 'tables' in data ? data.tables : [];
  if (!Array.isArray(tables)) return places;
  tables.forEach((entry: unknown, index) => {
    const text: unknown = typeof entry === 'object' && entry !== null && 'name' in entry ? entry.name : '';
    const parsed = parseTableName(String(text));
    if (!('name' in parsed)) return;
    const { schema, table } = parsed.name;
    places.set(`${schema}.${table}`, source.valuePlace(['tables', index, 'name']));
  });
  return places;
}

function placed(finding: Finding, context: { readonly file: string; readonly source: Source }): Issue {
  const { path, at, offset, message, hint } = finding;
  const { source, file } = context;
  const place = at === 'key' ? source.keyPlace(path) : source.valuePlace(path, offset);
  return { file, ...place, path: formatPath(path), message, ...(hint === undefined ? {} : { hint }) };
}

function inOrder(issues: readonly Issue[]): readonly Issue[] {
  const unique = new Map(issues.map((issue) => [JSON.stringify(issue), issue]));
  return [...unique.values()].sort((a, b) => a.line - b.line || a.column - b.column);
}

/** One line for people: `set.yaml:3:5: unknown key nme (tables[0].nme)`. The hint is not in it. */
export function formatIssue(issue: Issue): string {
  const where = issue.path === '' ? '' : ` (${issue.path})`;
  return `${issue.file}:${issue.line}:${issue.column}: ${issue.message}${where}`;
}

/** All issues as one error, exit 20, code `set_file_invalid`; `details.issues` holds them for `--json`. */
export function setFileError(issues: readonly Issue[]): ConfigurationError {
  const [first] = issues;
  const message =
    first === undefined
      ? 'the set file is invalid'
      : `${formatIssue(first)}${issues.length > 1 ? `, and ${issues.length - 1} more` : ''}`;
  return new ConfigurationError('set_file_invalid', message, {
    hint: first?.hint ?? 'correct the file at the places named',
    details: { issues },
  });
}
