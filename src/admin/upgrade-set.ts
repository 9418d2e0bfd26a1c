/**
 * Gives a set its next version: tables, columns, streams and databases may come and go. Every database of the old and
 * of the new version takes part; they switch together or not at all.
 */
import { inspectCapture } from '../capture/inspect.js';
import { planRemoval } from '../capture/remove.js';
import { ConfigurationError, IntegrityError, RefusedError, UnreachableError } from '../errors.js';
import type { ChangeNode, SetDocument } from '../model/change-records.js';
import type { SetConfiguration } from '../model/set-configuration.js';
import { quoteIdentifier } from '../postgres/sql-files.js';
import { sha256Hex } from '../runtime/hash.js';
import { waitForActivation } from './activation.js';
import { buildChange, carryOut, configurationHash, joiningNode } from './carry-out.js';
import { type AdminContext, GIVE_UP_MS, namesOf } from './context.js';
import { clearLeftovers } from './leftovers.js';
import {
  readDecided,
  readDocument,
  readSet,
  requireCluster,
  requireVersion,
  setNotFound,
} from './load-set.js';
import { compareIdentity, type DatabaseIdentity, readDrift, readNodeRows } from './node-rows.js';
import { type NodeSessions, withSessions } from './node-sessions.js';
import { type Plan, planOf } from './plan.js';
import { recoverBefore } from './recover.js';
import { closeStrays } from './strays.js';
import { type SurveyedNode, surveyNodes } from './survey.js';

export interface UpgradeSetOptions {
  readonly configuration: SetConfiguration;
  /** Precondition. */
  readonly version?: number | undefined;
  /** Also waits until every writer that began before is gone from newly captured tables. */
  readonly wait: boolean;
  readonly dryRun: boolean;
  /** Goes on where a publication would carry our tables; leaves behind leaving databases that can't be reached, or hold nothing of it. */
  readonly force?: boolean;
}

export interface Upgraded {
  /** `unchanged`: the set is what the file asks for, in every database; nothing was written. */
  readonly kind: 'upgraded' | 'unchanged';
  readonly name: string;
  readonly version: number;
  readonly nodes: readonly { readonly database: string; readonly nodeId: string }[];
  /** Databases that `force` left behind. */
  readonly left: readonly string[];
}

/**
 * @throws RefusedError `cluster_missing`, `set_not_found`, `version_mismatch`, `set_busy`, `change_lost`, `table_busy`;
 * IntegrityError `node_replaced`, `node_ahead`, …; ConfigurationError; UnreachableError; InDoubtError
 */
export async function upgradeSet(
  context: AdminContext,
  options: UpgradeSetOptions,
): Promise<Upgraded | Plan> {
  const { name } = options.configuration;
  return withSessions(context, async (sessions) => {
    await requireLive(context, { name, version: options.version });
    if (!options.dryRun)
      await recoverBefore(context, { sessions, set: name, lenient: options.force ?? false });
    return upgradeFrom(context, { sessions, options });
  });
}

async function requireLive(
  context: AdminContext,
  { name, version }: { name: string; version?: number | undefined },
) {
  const base = await readSet(context, name);
  if (base.record.state === 'dropped') throw setNotFound(context, name);
  requireVersion(name, { is: base.record.version, wanted: version });
  return base;
}

async function upgradeFrom(
  context: AdminContext,
  { sessions, options }: { sessions: NodeSessions; options: UpgradeSetOptions },
): Promise<Upgraded | Plan> {
  const { configuration, force = false } = options;
  const { name } = configuration;
  const { cluster, entryVersion } = await requireCluster(context);
  const base = await requireLive(context, { name, version: options.version });
  const old = await readDecided(context, { name, record: base.record });
  const surveyed = await surveyNodes(context, sessions, { configuration, clusterId: cluster.id, force });
  requireSameNodes(old, surveyed);
  if (await isCurrent(context, { old, configuration, surveyed })) {
    const nodes = old.nodes.map(({ database, nodeId }) => ({ database, nodeId }));
    return { kind: 'unchanged', name, version: old.version, nodes, left: [] };
  }
  const { leaving, left } = await leavingNodes(context, { sessions, old, surveyed, force });
  const joins = surveyed.filter((one) => !old.nodes.some((node) => node.database === one.database));
  if (!options.dryRun) {
    for (const node of [...joins, ...leaving]) await closeStrays(context, { sessions, node });
  }
  await clearLeftovers(context, { sessions, surveyed: joins, base, dryRun: options.dryRun });
  const nodes = changeNodes({ old, surveyed, leaving });
  const plan = buildChange(context, {
    configuration,
    state: 'live',
    nodes,
    cluster: { id: cluster.id, entryVersion },
    base,
  });
  if (options.dryRun) {
    const forward = await planOf(context, { plan, surveyed });
    const backward = await Promise.all(
      leaving.map((node) => removalOf(context, { sessions, node, set: name })),
    );
    return { ...forward, nodes: [...forward.nodes, ...backward] };
  }
  const before = await Promise.all(surveyed.map((node) => capturedRelids(context, { node, set: name })));
  await carryOut(context, { sessions, plan });
  if (options.wait) {
    await waitForActivation(
      context,
      surveyed.map((node, index) => ({
        ...node,
        tables: node.tables.filter((table) => !before[index]?.has(String(table.relid))),
      })),
    );
  }
  return {
    kind: 'upgraded',
    name,
    version: plan.document.version,
    nodes: plan.document.nodes.map(({ database, nodeId }) => ({ database, nodeId })),
    left,
  };
}

/** A database of the set is the one that joined it, whatever its DSN is now. */
function requireSameNodes(old: SetDocument, surveyed: readonly SurveyedNode[]): void {
  for (const { database, row } of surveyed) {
    const node = old.nodes.find((one) => one.database === database);
    if (node && row?.nodeId !== node.nodeId) {
      throw new IntegrityError(
        'node_replaced',
        `Database ${database} is not the one that joined set ${old.set}.`,
        {
          hint: `Check its DSN; after a restore or pg_upgrade: shovel node adopt ${old.set} ${database}.`,
          details: { set: old.set, database },
        },
      );
    }
    const other = node ? undefined : old.nodes.find((one) => one.nodeId === row?.nodeId);
    if (other) {
      throw new ConfigurationError(
        'database_renamed',
        `Database ${database} is in set ${old.set} already, under the name ${other.database}.`,
        { hint: `Keep the name ${other.database}: streams and positions go by it.`, details: { database } },
      );
    }
  }
}

async function isCurrent(
  context: AdminContext,
  {
    old,
    configuration,
    surveyed,
  }: { old: SetDocument; configuration: SetConfiguration; surveyed: readonly SurveyedNode[] },
): Promise<boolean> {
  if (configurationHash(configuration) !== old.hash) return false;
  // DDL since then, or a trigger dropped by hand, is mended by making everything again.
  const findings = await Promise.all(
    surveyed.map(({ connection }) =>
      inspectCapture(connection, {
        names: namesOf(context),
        set: configuration.name,
        version: old.version,
        configuration,
        hash: sha256Hex,
      }),
    ),
  );
  // What relays met in the log of this version is ended by the next.
  const drift = await Promise.all(
    surveyed.map(({ connection }) =>
      readDrift(connection, { names: namesOf(context), set: configuration.name, version: old.version }),
    ),
  );
  return findings.flat().length === 0 && drift.flat().length === 0;
}

/** @throws UnreachableError where one can't be reached and `force` is not given */
async function leavingNodes(
  context: AdminContext,
  {
    sessions,
    old,
    surveyed,
    force,
  }: { sessions: NodeSessions; old: SetDocument; surveyed: readonly SurveyedNode[]; force: boolean },
): Promise<{ leaving: readonly ChangeNode[]; left: readonly string[] }> {
  const leaving: ChangeNode[] = [];
  const left: string[] = [];
  for (const node of old.nodes) {
    if (surveyed.some((one) => one.database === node.database)) continue;
    const dsn = old.configuration.databases[node.database]?.dsn ?? '';
    try {
      const connection = await sessions.connection({ database: node.database, dsn });
      const rows = force ? await readNodeRows(connection, { names: namesOf(context) }) : undefined;
      if (rows?.some((row) => row.set === old.set && row.nodeId === node.nodeId) === false) {
        context.say(`database ${node.database} holds nothing of the set: there is nothing to take away`);
        left.push(node.database);
      } else {
        leaving.push({ ...node, dsn, role: 'leave' });
      }
    } catch (error) {
      if (!force || !(error instanceof UnreachableError)) throw error;
      context.say(`database ${node.database} is left behind: ${error.message}`);
      left.push(node.database);
    }
  }
  return { leaving, left };
}

/** Those that are in the set first, by number; then those that join, in an order that all administrators agree on. */
function changeNodes({
  old,
  surveyed,
  leaving,
}: {
  old: SetDocument;
  surveyed: readonly SurveyedNode[];
  leaving: readonly ChangeNode[];
}): readonly ChangeNode[] {
  const staying: ChangeNode[] = [];
  const joining: { node: ChangeNode; identity: DatabaseIdentity }[] = [];
  for (const { database, dsn, identity } of surveyed) {
    const node = old.nodes.find((one) => one.database === database);
    if (node) {
      staying.push({ ...node, dsn, role: 'stay' });
    } else {
      const others = [...old.nodes, ...joining.map((one) => one.node)];
      joining.push({ node: joiningNode({ database, dsn }, others), identity });
    }
  }
  return [
    ...[...staying, ...leaving].toSorted((a, b) => a.number - b.number),
    ...joining.toSorted((a, b) => compareIdentity(a.identity, b.identity)).map((one) => one.node),
  ];
}

async function removalOf(
  context: AdminContext,
  { sessions, node, set }: { sessions: NodeSessions; node: ChangeNode; set: string },
): Promise<{ database: string; statements: readonly string[] }> {
  const statements = await planRemoval(await sessions.connection(node), {
    names: namesOf(context),
    set,
    keep: [],
    lockTimeoutMs: context.lockTimeoutMs,
    giveUpMs: context.giveUpMs ?? GIVE_UP_MS,
    waiting: context.say,
  });
  return { database: node.database, statements };
}

/** Tables that the node captures now: for them nothing begins. */
async function capturedRelids(
  context: AdminContext,
  { node, set }: { node: SurveyedNode; set: string },
): Promise<ReadonlySet<string>> {
  if (!node.row) return new Set();
  const rows = await node.connection.query(
    `select c.relid from ${quoteIdentifier(namesOf(context).schema)}.captured_table c
     where c.set_name = $1 and c.set_version = $2`,
    [set, String(node.row.version)],
  );
  return new Set(rows.map((row) => row.relid ?? ''));
}

export interface RollbackSetOptions {
  readonly name: string;
  /** The version whose configuration is wanted again, under a new number. */
  readonly version: number;
  readonly wait: boolean;
  readonly dryRun: boolean;
  readonly force?: boolean;
}

/** @throws RefusedError `version_not_found`; what upgradeSet throws */
export async function rollbackSet(
  context: AdminContext,
  { name, version, ...options }: RollbackSetOptions,
): Promise<Upgraded | Plan> {
  const { record } = await requireLive(context, { name });
  if (version > record.version) {
    throw new RefusedError(
      'version_not_found',
      `Set ${name} has no version ${version}: it is at ${record.version}.`,
      {
        hint: `shovel set history ${name} lists those that it has.`,
        details: { set: name, version },
      },
    );
  }
  const { configuration } = await readDocument(context, { name, version });
  return upgradeSet(context, { ...options, configuration, version: record.version });
}
