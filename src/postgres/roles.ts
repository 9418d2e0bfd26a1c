/**
 * The three roles of a cluster on one server. None can log in: `owner` owns the schema, `capture` the functions that
 * write the log, `sandbox` those that print rows. The installer is made a member of `owner`, `owner` of the others,
 * because whoever replaces a function must be its owner's member. Decides what is missing and says the SQL where the
 * session may not do it itself.
 */
import { ConfigurationError } from '../errors.js';
import type { PostgresConnection } from './connect.js';
import { type NodeNames, quoteIdentifier } from './sql-files.js';
import { withRetries } from './with-retries.js';

/** From this release on a membership may come without the right to use it or to become the role. */
const GRANULAR = 160_000;

/** @throws ConfigurationError `role_missing`, `role_membership_missing` */
export async function ensureRoles(connection: PostgresConnection, names: NodeNames): Promise<void> {
  await withRetries(async () => {
    const done = new Set<string>();
    for (;;) {
      const [next] = await missing(connection, names);
      if (!next) return;
      // Still missing after it was run: the session's role does not inherit what it is a member of.
      if (!next.possible || done.has(next.sql)) throw refusal(connection, { names, step: next });
      await run(connection, { names, step: next });
      done.add(next.sql);
    }
  });
}

/** The statements on roles that are still to be run. Reads only. */
export async function planRoles(
  connection: PostgresConnection,
  names: NodeNames,
): Promise<readonly string[]> {
  return (await missing(connection, names)).map((step) => step.sql);
}

/** @throws what ensureRoles would throw for lack of privileges, as far as that can be known without writing */
export async function checkRoles(connection: PostgresConnection, names: NodeNames): Promise<void> {
  const impossible = (await missing(connection, names)).find((step) => !step.possible);
  if (impossible) throw refusal(connection, { names, step: impossible });
}

interface RoleStep {
  readonly sql: string;
  readonly kind: 'role' | 'membership';
  /** As far as can be known beforehand. */
  readonly possible: boolean;
}

async function run(
  connection: PostgresConnection,
  { names, step }: { names: NodeNames; step: RoleStep },
): Promise<void> {
  try {
    await connection.script(step.sql);
  } catch (error) {
    if (error instanceof ConfigurationError && error.code === 'privilege_missing') {
      throw refusal(connection, { names, step });
    }
    throw error;
  }
}

function refusal(
  connection: PostgresConnection,
  { names, step }: { names: NodeNames; step: RoleStep },
): ConfigurationError {
  return step.kind === 'role'
    ? new ConfigurationError(
        'role_missing',
        `${connection.display} lacks the roles of schema ${names.schema}, and this session may not create them.`,
        { hint: `Give it CREATEROLE, or have an administrator run, then try again: ${step.sql};` },
      )
    : new ConfigurationError(
        'role_membership_missing',
        `${connection.display}: this session may not use the roles of schema ${names.schema}.`,
        { hint: `Have an administrator run, then try again: ${step.sql};` },
      );
}

async function missing(connection: PostgresConnection, names: NodeNames): Promise<readonly RoleStep[]> {
  const granular = connection.serverVersion >= GRANULAR;
  const rows = await connection.query(
    `select current_user as me, m.rolsuper as super, m.rolcreaterole as may_create,
       o.oid as owner, c.oid as capture, s.oid as sandbox,
       coalesce(pg_catalog.pg_has_role(m.oid, o.oid, 'USAGE')${granular ? ` and pg_catalog.pg_has_role(m.oid, o.oid, 'SET')` : ''}, false) as me_owner,
       coalesce(pg_catalog.pg_has_role(o.oid, c.oid, 'USAGE')${granular ? ` and pg_catalog.pg_has_role(o.oid, c.oid, 'SET')` : ''}, false) as owner_capture,
       coalesce(pg_catalog.pg_has_role(o.oid, s.oid, 'USAGE')${granular ? ` and pg_catalog.pg_has_role(o.oid, s.oid, 'SET')` : ''}, false) as owner_sandbox
     from pg_catalog.pg_roles m
     left join pg_catalog.pg_roles o on o.rolname = $1
     left join pg_catalog.pg_roles c on c.rolname = $2
     left join pg_catalog.pg_roles s on s.rolname = $3
     where m.rolname = current_user`,
    [names.owner, names.capture, names.sandbox],
  );
  const found = rows[0];
  const may = found?.may_create === 't' || found?.super === 't';
  const clause = granular ? ' with set true, inherit true' : '';
  const grant = (role: string, to: string) =>
    `grant ${quoteIdentifier(role)} to ${quoteIdentifier(to)}${clause}`;
  const steps: RoleStep[] = [];
  for (const [role, oid] of [
    [names.owner, found?.owner],
    [names.capture, found?.capture],
    [names.sandbox, found?.sandbox],
  ] as const) {
    if (!oid)
      steps.push({ kind: 'role', possible: may, sql: `create role ${quoteIdentifier(role)} nologin` });
  }
  // Whoever has the admin option may grant without CREATEROLE, so a grant is tried before it is called impossible.
  const membership = (sql: string) => steps.push({ kind: 'membership', possible: true, sql });
  if (found?.me_owner !== 't') membership(grant(names.owner, found?.me ?? ''));
  if (found?.owner_capture !== 't') membership(grant(names.capture, names.owner));
  if (found?.owner_sandbox !== 't') membership(grant(names.sandbox, names.owner));
  return steps;
}
