/**
 * What a multi comes to, given the rows that it locked: pure, so that every case can be tried without a database.
 * Operations see what those before them did, as in ZooKeeper.
 */
import type { MultiResult, Operation } from '../coordinator.js';
import { parentOf } from '../operations.js';

export interface LockedEntries {
  /** Version by path, of every path and parent that the operations name and that exists. */
  readonly versions: ReadonlyMap<string, number>;
  /** Children of the paths to be removed; a held lease counts as one. */
  readonly children: ReadonlyMap<string, readonly string[]>;
}

/** Undefined where all operations hold. */
export function findConflict(
  operations: readonly Operation[],
  locked: LockedEntries,
): Extract<MultiResult, { kind: 'conflict' }> | undefined {
  const versions = new Map(locked.versions);
  const created = new Set<string>();
  const removed = new Set<string>();
  const hasChildren = (path: string) =>
    (locked.children.get(path) ?? []).some((child) => !removed.has(child)) ||
    [...created].some((child) => parentOf(child) === path);

  for (const [index, operation] of operations.entries()) {
    const { kind, path } = operation;
    const version = versions.get(path);
    if (kind === 'create') {
      if (!versions.has(parentOf(path))) return { kind: 'conflict', index, reason: 'missing' };
      if (version !== undefined) return { kind: 'conflict', index, reason: 'exists' };
      versions.set(path, 0);
      created.add(path);
      removed.delete(path);
      continue;
    }
    if (version === undefined) return { kind: 'conflict', index, reason: 'missing' };
    if (version !== operation.version) return { kind: 'conflict', index, reason: 'version' };
    if (kind === 'set') versions.set(path, version + 1);
    if (kind === 'remove') {
      if (hasChildren(path)) return { kind: 'conflict', index, reason: 'not_empty' };
      versions.delete(path);
      created.delete(path);
      removed.add(path);
    }
  }
  return undefined;
}
