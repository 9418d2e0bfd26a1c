/** What holds trimming and vacuum back in a server, how its databases wake the relay, and what carries our tables. */
import { maxPreparedTransactions } from '../../postgres/prepared-transaction.js';
import { quoteIdentifier, quoteLiteral } from '../../postgres/sql-files.js';
import { type Finding, finding } from './finding.js';
import { ageText, type NodeProbe, type SetProbe } from './probe.js';

/**
 * Whoever has a transaction id keeps the log from being trimmed, in whichever database of the server; whoever holds a
 * snapshot keeps vacuum from the rest.
 */
export async function checkTransactions(probe: NodeProbe): Promise<readonly Finding[]> {
  const { connection, thresholds } = probe;
  const seconds = String(thresholds.transactionMs / 1000);
  const open = await connection.query(
    `select a.pid, coalesce(a.application_name, '') as application, coalesce(a.datname, '') as database,
       coalesce(a.usename, '') as role, coalesce(a.state, '') as state, (a.backend_xid is not null)::text as writes,
       pg_catalog.floor(extract(epoch from pg_catalog.clock_timestamp() - a.xact_start))::bigint as age
     from pg_catalog.pg_stat_activity a
     where a.xact_start < pg_catalog.clock_timestamp() - $1::float8 * interval '1 second'
       and a.pid <> pg_catalog.pg_backend_pid() and a.backend_type = 'client backend'
       and (a.backend_xid is not null or a.datname = pg_catalog.current_database()) order by a.xact_start`,
    [seconds],
  );
  const prepared = await connection.query(
    `select p.gid, p.database, pg_catalog.floor(extract(epoch from pg_catalog.clock_timestamp() - p.prepared))::bigint as age
     from pg_catalog.pg_prepared_xacts p
     where p.prepared < pg_catalog.clock_timestamp() - $1::float8 * interval '1 second' and not pg_catalog.starts_with(p.gid, 'shovel:')
     order by p.prepared`,
    [seconds],
  );
  return [
    ...open.map((row) =>
      finding('transaction_open_long', {
        object: `database ${row.database}`,
        message: `Session ${row.pid} (${row.application || 'no application_name'}, role ${row.role}, ${row.state}) has had a transaction open for ${ageText(Number(row.age))}: ${row.writes === 'true' ? 'the log can’t be trimmed past it' : 'vacuum can’t pass it'}.`,
        fix: `End it where it comes from, or: select pg_terminate_backend(${row.pid})`,
      }),
    ),
    ...prepared.map((row) =>
      finding('prepared_open_long', {
        object: `database ${row.database}`,
        message: `Transaction ${row.gid} has been prepared for ${ageText(Number(row.age))}: the log can’t be trimmed past it.`,
        fix: `Its own coordinator should end it; by hand, in database ${row.database}: rollback prepared ${quoteLiteral(row.gid ?? '')}`,
      }),
    ),
  ];
}

export async function checkReplication(probe: NodeProbe): Promise<readonly Finding[]> {
  const { connection, thresholds } = probe;
  const limit = String(thresholds.xmins);
  const slots = await connection.query(
    `select s.slot_name, s.active::text as active, greatest(pg_catalog.age(s.xmin), pg_catalog.age(s.catalog_xmin)) as age
     from pg_catalog.pg_replication_slots s
     where greatest(pg_catalog.age(s.xmin), pg_catalog.age(s.catalog_xmin)) >= $1::bigint order by 1`,
    [limit],
  );
  const standbys = await connection.query(
    `select r.pid, coalesce(r.application_name, '') as application, pg_catalog.age(r.backend_xmin) as age
     from pg_catalog.pg_stat_replication r where pg_catalog.age(r.backend_xmin) >= $1::bigint order by 1`,
    [limit],
  );
  return [
    ...slots.map((row) =>
      finding('slot_holds_xmin', {
        object: `slot ${row.slot_name}`,
        message: `Replication slot ${row.slot_name} (${row.active === 'true' ? 'active' : 'not active'}) holds back vacuum by ${row.age} transactions.`,
        fix: `Let its reader catch up; if nobody reads it: select pg_drop_replication_slot(${quoteLiteral(row.slot_name ?? '')})`,
      }),
    ),
    ...standbys.map((row) =>
      finding('standby_holds_xmin', {
        object: `standby ${row.application}`,
        message: `Standby ${row.application} holds back vacuum by ${row.age} transactions (hot_standby_feedback).`,
        fix: 'End the long query on the standby, or limit it: statement_timeout there',
      }),
    ),
  ];
}

export async function checkAutovacuum({ connection, database }: NodeProbe): Promise<readonly Finding[]> {
  const [row] = await connection.query(`select pg_catalog.current_setting('autovacuum') as autovacuum`);
  if (row?.autovacuum !== 'off') return [];
  return [
    finding('autovacuum_off', {
      object: `database ${database}`,
      message: `Autovacuum is off on the server of database ${database}: shovel’s small tables, like all others, grow.`,
      fix: 'alter system set autovacuum = on; select pg_reload_conf()',
    }),
  ];
}

export async function checkPublications({
  connection,
  names,
  database,
}: NodeProbe): Promise<readonly Finding[]> {
  const rows = await connection.query(
    `select distinct p.pubname from pg_catalog.pg_publication_tables p where p.schemaname = $1 order by 1`,
    [names.schema],
  );
  return rows.map((row) =>
    finding('publication_carries_log', {
      object: `database ${database}`,
      message: `Publication ${row.pubname} carries tables of schema ${names.schema}: a subscriber that lacks them stops.`,
      fix: `create another publication for the tables that are meant, give it to the subscription (there: alter subscription … set publication …), then: drop publication ${quoteIdentifier(row.pubname ?? '')}`,
    }),
  );
}

/** A transaction that has notified can't be prepared, so a server that allows prepared transactions is polled. */
export async function checkWake(probe: SetProbe): Promise<readonly Finding[]> {
  const { connection, document, object } = probe;
  const { wake } = document.configuration;
  const prepared = await maxPreparedTransactions(connection);
  if (wake === 'notify' && prepared > 0) {
    return [
      finding('wake', {
        object,
        message: `The relay polls in spite of wake: notify: max_prepared_transactions is ${prepared}, and a transaction that notifies can’t be prepared.`,
        fix: 'If nothing on the server prepares transactions: alter system set max_prepared_transactions = 0, and a restart',
      }),
    ];
  }
  const polls = wake === 'poll' || prepared > 0;
  const why = polls
    ? `max_prepared_transactions is ${prepared}, and a transaction that notifies can’t be prepared`
    : 'max_prepared_transactions is 0';
  return [
    finding('wake', {
      object,
      message: `The relay ${polls ? 'polls' : 'is notified'} (wake: ${wake}${wake === 'auto' ? `: ${why}` : ''}).`,
      fix: 'Nothing to mend',
    }),
  ];
}
