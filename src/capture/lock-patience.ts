/**
 * Tries a short transaction again and again until it gets its locks, each try waiting for them no longer than the
 * lock timeout: an application that queues behind us waits no longer than one try. Between the tries it stays away for a
 * random while. Gives up with the names of those who hold the table.
 *
 * Maintained invariant: from the moment when a try asks for its first lock, its length is the server's work alone. All
 * of it, the commit included, is one message, so neither the network nor the fate of this process makes it longer; and
 * the commit does not wait for the disk or for a standby (see `attempt`).
 */
import { RefusedError } from '../errors.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { lockHolders } from '../postgres/lock-holders.js';
import { PostgresError, SQLSTATE } from '../postgres/sqlstate.js';
import { systemClock } from '../runtime/clock.js';

export interface Patience {
  readonly lockTimeoutMs: number;
  /** After so long without the locks: RefusedError `table_busy`. */
  readonly giveUpMs: number;
  /** A line for people when it takes longer than a second or so. */
  readonly waiting: (line: string) => void;
  readonly signal?: AbortSignal;
}

const RETRY: ReadonlySet<string> = new Set([
  SQLSTATE.lockNotAvailable,
  SQLSTATE.deadlock,
  SQLSTATE.serialization,
  '55006', // object in use
]);

/** Two sessions that change one catalog row at once: `tuple concurrently updated` has no SQLSTATE of its own. */
function isConcurrentUpdate(error: PostgresError): boolean {
  return error.sqlstate === SQLSTATE.internal && /tuple concurrently/.test(error.message);
}

/** A short transaction of its own. `table` is for people; `relids` are those whose holders are named. */
export interface Step {
  readonly table: string;
  readonly relids: readonly number[];
  readonly statements: readonly string[];
}

/**
 * Statements that lock a table, or a partition tree. The root is waited for, while we hold nothing; once it is ours,
 * writes through it have drained, and the partitions are tried without waiting: a try waits at one place alone, and in
 * no circle. Names are quoted.
 */
export function lockTree(root: string, partitions: readonly string[], mode: string): readonly string[] {
  const waited = `lock table only ${root} in ${mode} mode`;
  if (partitions.length === 0) return [waited];
  return [waited, `lock table ${partitions.map((one) => `only ${one}`).join(', ')} in ${mode} mode nowait`];
}

/** One after another. @throws RefusedError `table_busy` */
export async function runSteps(
  connection: PostgresConnection,
  steps: readonly Step[],
  patience: Patience,
): Promise<void> {
  for (const step of steps) await patiently(connection, step, patience);
}

async function patiently(connection: PostgresConnection, step: Step, patience: Patience): Promise<void> {
  const { table, relids } = step;
  const begun = performance.now();
  let told = begun;
  for (;;) {
    patience.signal?.throwIfAborted();
    try {
      await attempt(connection, step, patience);
      return;
    } catch (error) {
      if (!(error instanceof PostgresError) || !(RETRY.has(error.sqlstate) || isConcurrentUpdate(error))) {
        throw error;
      }
      const now = performance.now();
      if (now - begun > patience.giveUpMs) {
        throw new RefusedError(
          'table_busy',
          `Table ${table} is held by ${await lockHolders(connection, { relids })}.`,
          {
            hint: 'Run again when that has ended; nothing waits on shovel meanwhile.',
            cause: error,
          },
        );
      }
      if (now - told > 2_000) {
        told = now;
        patience.waiting(`waiting for table ${table}, held by ${await lockHolders(connection, { relids })}`);
      }
      await systemClock.sleep(patience.lockTimeoutMs * (1 + 4 * Math.random()), patience.signal);
    }
  }
}

/**
 * `begin` goes alone, because connections may take a fence with it; it holds nothing of the application's. The commit
 * is not waited for: what comes after it in any change (a prepared version, the end of its intent) is waited for, and
 * takes this along; lost without it, a trigger more or less that calls a function which does nothing harms nobody.
 */
async function attempt(
  connection: PostgresConnection,
  { statements }: Step,
  { lockTimeoutMs }: Patience,
): Promise<void> {
  await connection.script('begin');
  try {
    const settings = [`set local lock_timeout = '${lockTimeoutMs}ms'`, 'set local synchronous_commit = off'];
    await connection.script([...settings, ...statements, 'commit'].join('\n;\n'));
  } catch (error) {
    // The first error is the one to tell; a rollback that fails as well means that the connection is gone.
    await connection.script('rollback').catch(() => undefined);
    throw error;
  }
}
