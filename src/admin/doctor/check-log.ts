/** The log of a set in one database: its size and age against the limits, who reads it, and what it must be like. */
import { checkLimits } from '../../capture/limits.js';
import { quoteIdentifier, quoteLiteral } from '../../postgres/sql-files.js';
import { type Finding, type FindingCode, finding } from './finding.js';
import { ageText, type SetProbe } from './probe.js';

/** How the log stands beside its limits, and whether capture is still on. */
export async function checkLog(probe: SetProbe): Promise<readonly Finding[]> {
  const { connection, names, document, object, database } = probe;
  const { set } = document;
  const { limits } = document.configuration;
  const { reading, suspension } = await checkLimits(connection, { names, set, limits, readOnly: true });
  const told = (code: FindingCode) =>
    finding(code, {
      object,
      message: `In database ${database} ${reading.words}.${limits.policy === 'suspend' ? ' The policy is suspend: past it capture ends.' : ''}`,
      fix: `See that a relay runs and its streams publish (shovel relay ${set}), and that no old transaction is open`,
    });
  return [
    ...(suspension === undefined
      ? []
      : [
          finding('capture_suspended', {
            object,
            message: suspension.resuming
              ? `Capture of set ${set} in database ${database} was suspended at ${suspension.at}; shovel node adopt has begun to take it on again and has not ended.`
              : `Capture of set ${set} in database ${database} is suspended since ${suspension.at}: ${suspension.reason}. What was written since ticket ${suspension.ticket} is in no log.`,
            fix: `Mend what held the streams up, then: shovel node adopt ${set} ${database}; its targets need a bootstrap`,
          }),
        ]),
    ...reading.over.map((limit) => told(OVER[limit])),
    ...(reading.over.length > 0 ? [] : reading.near.map((limit) => told(NEAR[limit]))),
  ];
}

const OVER = { log_bytes: 'log_bytes_over_limit', lag: 'lag_over_limit' } as const;
const NEAR = { log_bytes: 'log_bytes_near_limit', lag: 'lag_near_limit' } as const;

export async function checkRelay(probe: SetProbe): Promise<readonly Finding[]> {
  const { connection, names, document, object, thresholds } = probe;
  const [row] = await connection.query(
    `select pg_catalog.max(m.pending_mutations)::bigint as pending,
       pg_catalog.floor(extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.max(m.relay_seen_at)))::bigint as seen
     from ${quoteIdentifier(names.schema)}.mutation_log m where m.set_name = $1`,
    [document.set],
  );
  const pending = Number(row?.pending ?? 0);
  const seen = row?.seen ?? null;
  if (pending === 0 || (seen !== null && Number(seen) * 1000 <= thresholds.relayMs)) return [];
  return [
    finding('relay_not_seen', {
      object,
      message: `${pending} mutations are pending, and ${seen === null ? 'no relay was ever seen' : `the relay was last seen ${ageText(Number(seen))} ago`}.`,
      fix: `shovel relay ${document.set}`,
    }),
  ];
}

export async function checkLogTables(probe: SetProbe): Promise<readonly Finding[]> {
  const { connection, names, document, object } = probe;
  const { set } = document;
  const schema = quoteIdentifier(names.schema);
  const tables = ['log', 'more', 'ticket', 'order'].flatMap((kind) =>
    [0, 1, 2].map((k) => `${kind}_${k}_${set}`),
  );
  const findings: Finding[] = [];
  const [sequence] = await connection.query(
    `select s.seqcache from pg_catalog.pg_sequence s where s.seqrelid = pg_catalog.to_regclass($1)`,
    [`${schema}.seq_${set}`],
  );
  if (sequence && sequence.seqcache !== '1') {
    findings.push(
      finding('sequence_cached', {
        object,
        message: `Sequence ${schema}.seq_${set} hands out ${sequence.seqcache} numbers at a time, so log order is not the order of changes. Relays refuse to publish.`,
        fix: `alter sequence ${schema}.seq_${set} cache 1; targets need a bootstrap`,
      }),
    );
  }
  const rows = await connection.query(
    `select c.relname, c.reloptions @> '{autovacuum_enabled=off}' or c.reloptions @> '{autovacuum_enabled=false}' as off
     from pg_catalog.pg_class c where c.relnamespace = ${quoteLiteral(schema)}::regnamespace
       and c.relname in (select pg_catalog.json_array_elements_text($1::json)) order by c.relname`,
    [JSON.stringify(tables)],
  );
  for (const { relname, off } of rows) {
    if (off === 't') continue;
    findings.push(
      finding('log_autovacuum', {
        object: `${object} ${names.schema}.${relname}`,
        message: `Autovacuum is on for ${names.schema}.${relname}: nothing in it is ever dead, and vacuum only costs.`,
        fix: `alter table ${schema}.${quoteIdentifier(relname ?? '')} set (autovacuum_enabled = off)`,
      }),
    );
  }
  const readers = await connection.query(
    `select c.relname, coalesce(r.rolname, 'public') as role, pg_catalog.string_agg(a.privilege_type, ', ') as may
     from pg_catalog.pg_class c cross join lateral pg_catalog.aclexplode(c.relacl) a
     left join pg_catalog.pg_roles r on r.oid = a.grantee
     where c.relnamespace = ${quoteLiteral(schema)}::regnamespace and c.relname ~ $1 and a.grantee <> c.relowner
       and not (r.rolname is not distinct from $2 and a.privilege_type in ('INSERT', 'USAGE', 'SELECT') and (a.privilege_type = 'INSERT') = (c.relkind = 'r'))
     group by 1, 2 order by 1, 2`,
    [`^(log|more|seq|switch|ticket|order)(_[0-2])?_${set}$`, names.capture],
  );
  for (const { relname, role, may } of readers) {
    findings.push(
      finding('log_exposed', {
        object: `${object} ${names.schema}.${relname}`,
        message: `Role ${role} has ${may} on ${names.schema}.${relname}.`,
        fix: `revoke all on ${schema}.${quoteIdentifier(relname ?? '')} from ${role === 'public' ? 'public' : quoteIdentifier(role ?? '')}`,
      }),
    );
  }
  return findings;
}
