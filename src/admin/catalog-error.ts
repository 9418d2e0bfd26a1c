/** What the catalog of a database has against a set file, as one error: the first problem in words, all in details. */
import type { CatalogIssue } from '../capture/table-description.js';
import { ConfigurationError } from '../errors.js';

export function catalogError(issues: readonly CatalogIssue[], database: string): ConfigurationError {
  const [first] = issues;
  const code = first?.code ?? 'tables_unusable';
  const lines = issues.map((issue) => issue.message);
  const message =
    issues.length === 1 && first
      ? first.message.endsWith(` (database ${database}).`)
        ? first.message
        : `${first.message.replace(/\.$/, '')} (database ${database}).`
      : `${issues.length} problems with the tables of database ${database}: ${lines.join(' ')}`;
  return new ConfigurationError(code, message, {
    hint: first?.hint ?? 'Check the tables of the set file.',
    details: { issues: issues.map((issue) => ({ ...issue })) },
  });
}
