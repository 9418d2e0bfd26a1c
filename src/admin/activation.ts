/**
 * Waits until capture has truly begun on newly captured tables: a transaction that wrote before the switch may go on
 * with the old functions until it ends, prepared ones too. As CREATE INDEX CONCURRENTLY does, it goes by the locks
 * that are held now; transaction ids won't do, a statement may have none yet.
 */
import type { TableDescription } from '../capture/table-description.js';
import type { PostgresConnection } from '../postgres/connect.js';
import type { AdminContext } from './context.js';

interface Holder {
  readonly virtualTransaction: string;
  /** `pid 4711 (app, 12 s)`: never a query's text. */
  readonly who: string;
}

/** A line for people no more often than this. */
const TELL_EVERY_MS = 2_000;

/** Without an end of its own: a transaction may be open for hours. Stops by the context's signal. */
export async function waitForActivation(
  context: Pick<AdminContext, 'clock' | 'say' | 'signal'>,
  nodes: readonly {
    readonly database: string;
    readonly connection: PostgresConnection;
    readonly tables: readonly TableDescription[];
  }[],
): Promise<void> {
  try {
    await waitForWriters(
      context,
      nodes.map(({ database, connection, tables }) => ({
        database,
        connection,
        relids: tables.flatMap((table) => [
          table.relid,
          ...table.partitions.map((partition) => partition.relid),
        ]),
      })),
    );
  } catch (error) {
    if (context.signal.aborted) {
      context.say(
        'the change is done in all databases; only the wait for transactions from before is broken off',
      );
    }
    throw error;
  }
}

/** Until all have ended who hold one of these tables for writing at the time of the call. */
export async function waitForWriters(
  context: Pick<AdminContext, 'clock' | 'say' | 'signal'>,
  nodes: readonly {
    readonly database: string;
    readonly connection: PostgresConnection;
    readonly relids: readonly number[];
  }[],
): Promise<void> {
  for (const { database, connection, relids } of nodes) {
    const before = new Set((await writers(connection, relids)).map((holder) => holder.virtualTransaction));
    let toldMs = context.clock.now();
    for (let pauseMs = 10; ; pauseMs = Math.min(pauseMs * 2, 500)) {
      const left = (await writers(connection, relids)).filter((holder) =>
        before.has(holder.virtualTransaction),
      );
      if (left.length === 0) break;
      context.signal.throwIfAborted();
      if (context.clock.now() - toldMs > TELL_EVERY_MS) {
        toldMs = context.clock.now();
        const names = left.slice(0, 3).map((holder) => holder.who);
        context.say(`database ${database}: waiting for transactions from before: ${names.join(', ')}`);
      }
      await context.clock.sleep(pauseMs, context.signal);
    }
  }
}

/** Who holds ROW EXCLUSIVE or stronger on one of the tables, ourselves apart. */
async function writers(
  connection: PostgresConnection,
  relids: readonly number[],
): Promise<readonly Holder[]> {
  const rows = await connection.query(
    `select distinct on (l.virtualtransaction) l.virtualtransaction,
       coalesce(
         pg_catalog.format('pid %s (%s, %s s)', a.pid, coalesce(nullif(a.application_name, ''), 'no application_name'),
           pg_catalog.round(extract(epoch from pg_catalog.clock_timestamp() - a.xact_start))),
         pg_catalog.format('prepared transaction %s', pg_catalog.quote_literal(p.gid)), 'a transaction') as who
     from pg_catalog.pg_locks l
     left join pg_catalog.pg_stat_activity a on a.pid = l.pid
     left join pg_catalog.pg_prepared_xacts p on l.virtualtransaction = '-1/' || p.transaction
     where l.granted and l.locktype = 'relation' and l.pid is distinct from pg_catalog.pg_backend_pid()
       and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
       and l.relation in (select (pg_catalog.json_array_elements_text($1::json))::oid)
       and l.mode in ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                      'ExclusiveLock', 'AccessExclusiveLock')
     order by l.virtualtransaction`,
    [JSON.stringify(relids.map(String))],
  );
  return rows.map((row) => ({ virtualTransaction: row.virtualtransaction ?? '', who: row.who ?? '' }));
}
