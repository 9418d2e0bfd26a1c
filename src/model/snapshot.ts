/**
 * PostgreSQL's snapshots as text, `xmin:xmax:xip,xip`: which transactions had ended when one was taken. The same
 * answers as pg_visible_in_snapshot (manual, 9.27.5): of a transaction that has rolled back it also says that it is
 * visible, which harms nobody who only asks about rows that he can see.
 */

export interface Snapshot {
  readonly text: string;
  /** Every transaction below has ended. */
  readonly xmin: bigint;
  /**
   * No transaction from here on had ended. Some of them may have been in progress: those are in no list, so this says
   * nothing about who had begun.
   */
  readonly xmax: bigint;
  /** In progress between the two. */
  readonly running: ReadonlySet<bigint>;
}

const FORM = /^([0-9]+):([0-9]+):([0-9]+(?:,[0-9]+)*)?$/;

/** Undefined where the text is no snapshot. */
export function parseSnapshot(text: string): Snapshot | undefined {
  const [, xmin, xmax, running] = FORM.exec(text) ?? [];
  if (xmin === undefined || xmax === undefined) return undefined;
  return {
    text,
    xmin: BigInt(xmin),
    xmax: BigInt(xmax),
    running: new Set(running === undefined ? [] : running.split(',').map(BigInt)),
  };
}

export function shows(snapshot: Snapshot, xid: bigint): boolean {
  return xid < snapshot.xmin || (xid < snapshot.xmax && !snapshot.running.has(xid));
}
