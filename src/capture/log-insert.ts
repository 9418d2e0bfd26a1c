/**
 * Where a capture function writes, whatever it captures: the switch that says which segment of the log takes rows, the
 * bell, the row of the application's context, and the insert itself. It names only our own columns.
 */
import { type NodeNames, quoteIdentifier } from '../postgres/sql-files.js';

export interface FunctionOptions {
  readonly names: NodeNames;
  readonly set: string;
  readonly version: number;
  /** A row whose text is longer is logged by its key alone and marked `o`. */
  readonly rowBytes: number;
}

/** Sets w_ to the segment to write into; to 8 and above while capture is suspended. Rings the bell if it is to. */
export function chooseSegment(options: FunctionOptions): string {
  return `  w_ := ${switchValue(options)};
  if w_ operator(pg_catalog.>=) 4 then
    w_ := ${quoteIdentifier(options.names.schema)}.ring_${options.set}(w_);
  end if;`;
}

/** The segment, 0 to 2; + 4 where an idle relay wants to be woken, + 8 while capture is suspended. */
export function switchValue({ names, set }: FunctionOptions): string {
  return `pg_catalog.pg_sequence_last_value('${quoteIdentifier(names.schema)}.switch_${set}'::pg_catalog.regclass)`;
}

/** c_ becomes the number of the log row that holds the transaction's context; null where the application set none. */
export function metadata({ names, set }: FunctionOptions): string {
  return `  if pg_catalog.current_setting('shovel.metadata', true) operator(pg_catalog.<>) '' then
    c_ := ${quoteIdentifier(names.schema)}.note_metadata_${set}();
  end if;`;
}

export type LogColumn =
  | 'op'
  | 'mark'
  | 'old_ctid'
  | 'new_ctid'
  | 'old_xmin'
  | 'leaf'
  | 'meta'
  | 'old'
  | 'new'
  | 'extra';

/** Into the segment that w_ names; into none while capture is suspended. `after`: what follows in each branch. */
export function insert(
  options: FunctionOptions,
  values: Partial<Record<LogColumn, string>>,
  after = '',
): string {
  return `  if w_ operator(pg_catalog.=) 0 then
${insertInto(0, values, options)}${after}
  elsif w_ operator(pg_catalog.=) 1 then
${insertInto(1, values, options)}${after}
  elsif w_ operator(pg_catalog.=) 2 then
${insertInto(2, values, options)}${after}
  end if;`;
}

/** Only these rows of captured tables go into the narrow tables of the segments (sql/set/create_log.sql). */
const NARROW: ReadonlySet<string> = new Set(['op', 'old_ctid', 'new_ctid', 'old_xmin', 'old', 'new']);

function insertInto(
  number: 0 | 1 | 2,
  values: Partial<Record<LogColumn, string>>,
  { names, set }: FunctionOptions,
): string {
  const narrow =
    !('old' in values && 'new' in values) && Object.keys(values).every((name) => NARROW.has(name));
  const column = (name: string) => (name === 'new' || (narrow && name === 'old') ? 'image' : name);
  const table = `${quoteIdentifier(names.schema)}.${narrow ? 'log' : 'more'}_${number}_${set}`;
  return `    insert into ${table} (rel, ${Object.keys(values).map(column).join(', ')})
      values (@rel@, ${Object.values(values).join(', ')});`;
}
