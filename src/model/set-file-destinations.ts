/**
 * Which destinations a stream's template names, and where two tables or two streams would meet. Usable before a
 * database is asked (listed tables) and after (all of them).
 */
import { formatTableName } from './names.js';
import type { QualifiedName } from './set-configuration.js';
import { encodeName, parseTemplate } from './template.js';

export interface DestinationConflict {
  readonly first: QualifiedName;
  readonly second: QualifiedName;
  /** The destination, with `{cluster}`, `{set}`, `{node}` left as they are. */
  readonly destination: string;
}

/**
 * Pairs of tables whose destination would be the same, each table at most once as `second`. With `kafka` also those
 * that differ in `.` and `_` alone: brokers refuse to hold both. A template without `{table}` is one destination
 * meant for all, and has no conflicts; entries of whole schemas (`*`) are passed over.
 */
export function destinationConflicts(
  template: string,
  options: { readonly tables: readonly QualifiedName[]; readonly kafka: boolean },
): readonly DestinationConflict[] {
  const seen = new Map<string, QualifiedName>();
  const conflicts: DestinationConflict[] = [];
  for (const table of options.tables) {
    const destination = destinationOf(template, table);
    if (table.table === '*' || destination === undefined || !destination.keyed) {
      continue;
    }
    const meeting = options.kafka ? destination.text.replaceAll('.', '_') : destination.text;
    const first = seen.get(meeting);
    if (first === undefined) {
      seen.set(meeting, table);
    } else if (formatTableName(first) !== formatTableName(table)) {
      conflicts.push({ first, second: table, destination: destination.text });
    }
  }
  return conflicts;
}

/**
 * The destination of a table, placeholders other than `{schema}` and `{table}` left as they are; `keyed` where the
 * template names `{table}`. Undefined where the text is no template. A whole schema keeps its `*`.
 */
export function destinationOf(
  template: string,
  table: QualifiedName,
): { readonly text: string; readonly keyed: boolean } | undefined {
  const parts = parseTemplate(template, { columns: true });
  if ('problem' in parts) {
    return undefined;
  }
  let keyed = false;
  const text = parts.map((part) => {
    if (part.kind !== 'placeholder') {
      return part.text;
    }
    keyed ||= part.name === 'table';
    if (part.name === 'schema') {
      return encodeName(table.schema);
    }
    return part.name === 'table' ? (table.table === '*' ? '*' : encodeName(table.table)) : `{${part.name}}`;
  });
  return { text: text.join(''), keyed };
}
