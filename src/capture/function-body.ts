/** Renders the capture function of one table and operation; what it does with rows is in row-body and statement-body. */
import { type NodeNames, quoteIdentifier } from '../postgres/sql-files.js';
import { functionName, type TriggerOperation } from './generated-names.js';
import { chooseSegment, type FunctionOptions, insert, metadata } from './log-insert.js';
import { rowBody } from './row-body.js';
import { statementBody } from './statement-body.js';
import type { TableDescription } from './table-description.js';

/** The body of a function that does nothing. */
export const NOTHING = ' begin return null; end ';

/** What a trigger calls until a version is decided: nothing happens. */
export function stubFunction(name: string, names: NodeNames): string {
  return `create function ${quoteIdentifier(names.schema)}.${quoteIdentifier(name)}() returns trigger
  language plpgsql security definer as $shovel$${NOTHING}$shovel$`;
}

/** `@rel@` in the body stands for the number of the table's row in captured_table, filled in by the activating statement. */
export function captureFunction(
  { captured }: TableDescription,
  operation: TriggerOperation,
  { names, body }: { readonly names: NodeNames; readonly body: string },
): string {
  const name = functionName(captured.base, operation);
  return `create or replace function ${quoteIdentifier(names.schema)}.${quoteIdentifier(name)}() returns trigger
  language plpgsql security definer as $shovel$
${body}
$shovel$`;
}

/** What stands between the dollar quotes, without the line breaks at its ends. */
export function captureBody(
  table: TableDescription,
  operation: TriggerOperation,
  options: FunctionOptions,
): string {
  if (operation === 't') return truncateBody(table, options);
  return operation === 'i' || operation === 'u' || operation === 'd'
    ? rowBody(table, operation, options)
    : statementBody(table, operation, options);
}

/** What a partition is called and bounded by is logged with it: it may be renamed or gone when it is published. */
function truncateBody({ captured }: TableDescription, options: FunctionOptions): string {
  const { partitioned } = captured;
  const place = `  begin
    x_ := ${quoteIdentifier(options.names.schema)}.partition_place(TG_RELID);
  exception when others then
    x_ := null;
  end;
`;
  const values = { op: "'T'", leaf: 'TG_RELID', meta: 'c_', ...(partitioned ? { extra: 'x_' } : {}) };
  return `declare
  w_ pg_catalog.int8;
  c_ pg_catalog.int8;${partitioned ? '\n  x_ pg_catalog.text;' : ''}
begin
${partitioned ? place : ''}${metadata(options)}
${chooseSegment(options)}
${insert(options, values)}
  return null;
end`;
}
