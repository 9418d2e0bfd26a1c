/** One set: what is decided, and what each of its databases holds of it. Changes nothing; a database may be away. */
import { ShovelError } from '../errors.js';
import { judgeNode } from '../model/change-recovery.js';
import { configurationDocument } from '../model/set-file-stored.js';
import { type AdminContext, namesOf } from './context.js';
import { type LoadedSet, loadSet, requireVersion } from './load-set.js';
import { readIdentity, readNodeRows, viewNode } from './node-rows.js';
import { type NodeSessions, withSessions } from './node-sessions.js';
import { sameDatabase } from './survey.js';

/** Names as in the JSON of `set inspect`. */
export interface InspectedNode {
  readonly database: string;
  readonly node_id: string;
  readonly incarnation: number;
  /** What the database holds; null where that can't be told. */
  readonly version: number | null;
  readonly state: 'capturing' | 'behind' | 'ahead' | 'replaced' | 'copied' | 'lost' | 'unreachable';
  /** Why it can't be told. */
  readonly error?: string;
}

export interface InspectedSet {
  readonly name: string;
  readonly version: number;
  readonly hash: string;
  readonly created_at: string;
  readonly decided_at: string;
  /** The set file's data, every default written out. */
  readonly config: ReturnType<typeof configurationDocument>;
  readonly nodes: readonly InspectedNode[];
}

/** @throws RefusedError `cluster_missing`, `set_not_found`, `version_mismatch` */
export async function inspectSet(
  context: AdminContext,
  { name, version }: { readonly name: string; readonly version?: number | undefined },
): Promise<InspectedSet> {
  const set = await loadSet(context, name);
  requireVersion(name, { is: set.version, wanted: version });
  const nodes = await withSessions(context, (sessions) =>
    Promise.all(set.nodes.map((node) => inspectNode(context, { sessions, set, node }))),
  );
  return {
    name,
    version: set.version,
    hash: set.hash,
    created_at: set.createdAt,
    decided_at: set.decidedAt,
    config: configurationDocument(set.configuration),
    nodes,
  };
}

async function inspectNode(
  context: AdminContext,
  { sessions, set, node }: { sessions: NodeSessions; set: LoadedSet; node: LoadedSet['nodes'][number] },
): Promise<InspectedNode> {
  const about = { database: node.database, node_id: node.nodeId, incarnation: node.incarnation };
  try {
    const dsn = set.configuration.databases[node.database]?.dsn ?? '';
    const connection = await sessions.connection({ database: node.database, dsn });
    const names = namesOf(context);
    const [row] = await readNodeRows(connection, { names, set: set.name });
    const version = row?.version ?? null;
    if (row && !sameDatabase(row, await readIdentity(connection)))
      return { ...about, version, state: 'copied' };
    const view = await viewNode(connection, {
      names,
      cluster: context.cluster,
      set: set.name,
      nodeId: node.nodeId,
    });
    const verdict = judgeNode({ ...set, state: 'live', nodes: [...set.nodes] }, node, view);
    return { ...about, version, state: verdict.kind === 'current' ? 'capturing' : verdict.kind };
  } catch (error) {
    if (!(error instanceof ShovelError)) throw error;
    return { ...about, version: null, state: 'unreachable', error: error.message };
  }
}
