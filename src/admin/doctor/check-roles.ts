/** The three roles of a cluster, who relays, and who dumps. */
import { planRoles } from '../../postgres/roles.js';
import { quoteIdentifier } from '../../postgres/sql-files.js';
import { type Finding, finding } from './finding.js';
import type { NodeProbe } from './probe.js';

export async function checkRoles({ connection, names, database }: NodeProbe): Promise<readonly Finding[]> {
  const object = `database ${database}`;
  const findings: Finding[] = (await planRoles(connection, names)).map((sql) =>
    finding('roles_incomplete', {
      object,
      message: `A role of schema ${names.schema}, or a membership in one, is missing for ${connection.display}.`,
      fix: sql,
    }),
  );
  const strong = await connection.query(
    `select r.rolname, pg_catalog.concat_ws(', ', case when r.rolcanlogin then 'LOGIN' end, case when r.rolsuper then 'SUPERUSER' end,
       case when r.rolcreaterole then 'CREATEROLE' end, case when r.rolcreatedb then 'CREATEDB' end,
       case when r.rolreplication then 'REPLICATION' end, case when r.rolbypassrls then 'BYPASSRLS' end) as may
     from pg_catalog.pg_roles r
     where r.rolname in ($1, $2, $3) and (r.rolcanlogin or r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls)
     order by 1`,
    [names.owner, names.capture, names.sandbox],
  );
  for (const row of strong) {
    const no = (row.may ?? '').split(', ').map((one) => `no${one.toLowerCase()}`);
    findings.push(
      finding('role_too_strong', {
        object,
        message: `Role ${row.rolname} has ${row.may}: it is made to own or to run functions, and nothing else.`,
        fix: `alter role ${quoteIdentifier(row.rolname ?? '')} ${no.join(' ')}`,
      }),
    );
  }
  return [...findings, ...(await sandboxFindings({ connection, names, object }))];
}

/** Code of other people's (casts to json) runs as the sandbox role: it must be nobody. */
async function sandboxFindings({
  connection,
  names,
  object,
}: Pick<NodeProbe, 'connection' | 'names'> & { object: string }): Promise<readonly Finding[]> {
  const sandbox = quoteIdentifier(names.sandbox);
  const rows = await connection.query(
    `with me as (select r.oid from pg_catalog.pg_roles r where r.rolname = $1::text)
     select 'is a member of ' || r.rolname as what, format('revoke %I from %I', r.rolname, $1::text) as fix
       from pg_catalog.pg_auth_members m join pg_catalog.pg_roles r on r.oid = m.roleid where m.member in (select oid from me)
     union all
     select format('has %s on %s', string_agg(a.privilege_type, ', '), c.oid::regclass), format('revoke all on %s%s from %I', case c.relkind when 'S' then 'sequence ' else '' end, c.oid::regclass, $1::text)
       from pg_catalog.pg_class c cross join lateral pg_catalog.aclexplode(c.relacl) a where a.grantee in (select oid from me) group by c.oid, c.relkind
     union all
     select format('owns %s', c.oid::regclass), format('alter table %s owner to %I', c.oid::regclass, $2::text)
       from pg_catalog.pg_class c where c.relowner in (select oid from me) and c.relkind not in ('i', 'I', 't', 'c')
     union all
     select format('has CREATE on schema %s', n.nspname), format('revoke create on schema %I from %I', n.nspname, $1::text)
       from pg_catalog.pg_namespace n cross join lateral pg_catalog.aclexplode(n.nspacl) a
       where a.grantee in (select oid from me) and a.privilege_type = 'CREATE'
     order by 1`,
    [names.sandbox, names.owner],
  );
  return rows.map((row) =>
    finding('sandbox_privileged', {
      object,
      message: `Role ${sandbox}, which prints rows and runs casts of the application’s own, ${row.what}.`,
      fix: row.fix ?? '',
    }),
  );
}

/** pg_dump locks every table that it dumps, and fails at the first that it may not read. */
export async function checkDumps({
  connection,
  names,
  database,
  rows,
}: NodeProbe): Promise<readonly Finding[]> {
  if (rows.length === 0) return [];
  const schema = quoteIdentifier(names.schema);
  const found = await connection.query(
    `select distinct r.rolname from pg_catalog.pg_roles r
     where r.rolcanlogin and not r.rolsuper and not pg_catalog.has_schema_privilege(r.oid, $1::regnamespace, 'USAGE')
       and (r.oid in (select d.datdba from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
         or r.oid in (select c.relowner from pg_catalog.pg_class c join ${schema}.captured_table t on t.relid = c.oid))
     order by 1`,
    [schema],
  );
  if (found.length === 0) return [];
  const roles = found.map((row) => row.rolname).join(', ');
  return [
    finding('dump_needs_exclusion', {
      object: `database ${database}`,
      message: `${roles} may not read schema ${names.schema}: a pg_dump by such a role fails unless it leaves the schema out.`,
      fix: `pg_dump -N ${names.schema} …`,
    }),
  ];
}
