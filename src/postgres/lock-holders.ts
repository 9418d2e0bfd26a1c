/** Who holds locks of relations, in words for people: `pid 4711 (app, 12 s), prepared transaction 'x'`. */
import type { PostgresConnection } from './connect.js';

export interface LockHoldersOptions {
  readonly relids: readonly (number | string)[];
  /** Also those who only read: they are in the way of what asks for a relation alone. */
  readonly readers?: boolean;
}

/** Never a query's text. Three at most; nobody is named where all have ended meanwhile. */
export async function lockHolders(
  connection: PostgresConnection,
  { relids, readers = false }: LockHoldersOptions,
): Promise<string> {
  const rows = await connection.query(
    `select distinct on (l.virtualtransaction) coalesce(
        case when a.backend_type = 'autovacuum worker'
             then format('autovacuum (pid %s; select pg_cancel_backend(%s) stops it)', a.pid, a.pid) end,
        case when a.pid is not null then format('pid %s (%s, %s s)', a.pid, coalesce(nullif(a.application_name, ''), 'no application_name'),
               round(extract(epoch from clock_timestamp() - coalesce(a.xact_start, a.query_start)))) end,
        format('prepared transaction %s', coalesce(quote_literal(p.gid), 'unknown'))) as holder
     from pg_locks l
     left join pg_stat_activity a on a.pid = l.pid
     left join pg_locks x on l.pid is null and x.locktype = 'transactionid' and x.virtualtransaction = l.virtualtransaction
     left join pg_prepared_xacts p on p.transaction = x.transactionid
     where l.granted and l.locktype = 'relation' and l.pid is distinct from pg_backend_pid()
       and l.database = (select oid from pg_database where datname = current_database())
       and l.relation in (select (json_array_elements_text($1::json))::oid)
       and ($2::boolean or l.mode <> 'AccessShareLock')`,
    [JSON.stringify(relids.map(String)), String(readers)],
  );
  const named = rows.map((row) => row.holder ?? '');
  return named.length === 0 ? 'sessions that change all the time' : named.slice(0, 3).join(', ');
}
