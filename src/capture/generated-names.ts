/**
 * Names of what is generated per set and table. Each carries a hash of the table's whole name, so that PostgreSQL's
 * cut at 63 bytes never makes two of them one; `!` sorts our triggers before every other of the table.
 */
import { createHash } from 'node:crypto';
import type { CapturedTable } from '../model/captured-table.js';
import type { QualifiedName } from '../model/set-configuration.js';

/** Row triggers i, u, d; statement triggers a (added), c (changed), r (removed); t truncate. */
export type TriggerOperation = 'i' | 'u' | 'd' | 'a' | 'c' | 'r' | 't';

const TRIGGER_OPERATIONS: readonly TriggerOperation[] = ['i', 'u', 'd', 'a', 'c', 'r', 't'];

/**
 * `capture_<set>_<10 hex>`: what the functions of one table may begin with; at most 61 bytes with an operation. `attempt`
 * counts from 0 through names that the table could have instead. Which one it has: function-bases.ts.
 */
export function functionBase(set: string, table: QualifiedName, attempt: number): string {
  const name = [table.schema, table.table];
  const hash = createHash('sha256')
    .update(JSON.stringify(attempt === 0 ? name : [...name, attempt]))
    .digest('hex');
  return `capture_${set}_${hash.slice(0, 10)}`;
}

export function functionName(base: string, operation: TriggerOperation): string {
  return `${base}_${operation}`;
}

const LETTERS = {
  row: { insert: 'i', update: 'u', delete: 'd', truncate: 't' },
  statement: { insert: 'a', update: 'c', delete: 'r', truncate: 't' },
} as const;

export function triggerOperations(table: CapturedTable): readonly TriggerOperation[] {
  return table.operations.map((operation) => LETTERS[table.capture ?? 'row'][operation]);
}

export function functionNames(table: CapturedTable): readonly string[] {
  return triggerOperations(table).map((operation) => functionName(table.base, operation));
}

/**
 * Unique among the sets and clusters that may capture the same table, and among the names that a table had: a trigger
 * that captures is never made to call another function, for that one does nothing until its version is decided.
 * At most 59 bytes.
 */
export function triggerName(
  table: { readonly schema: string; readonly set: string; readonly base: string },
  operation: TriggerOperation,
): string {
  const hash = createHash('sha256')
    .update(JSON.stringify([table.schema, table.base]))
    .digest('hex');
  return `!shovel_${table.set}_${hash.slice(0, 8)}_${operation}`;
}

/** Matches the capture functions of a set and no other's: what follows the set's name has a fixed length. */
export function functionPattern(set: string): string {
  return `^capture_${set}_[0-9a-f]{10}_[${TRIGGER_OPERATIONS.join('')}]$`;
}

/** The sequence that holds a stream's position. */
export function positionName(set: string, stream: string): string {
  const hash = createHash('sha256').update(stream).digest('hex');
  return `position_${set}_${hash.slice(0, 8)}`;
}
