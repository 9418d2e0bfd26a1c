/** Makes a cluster: the place in the coordinator where its sets, changes and leases live. */
import { randomUUID } from 'node:crypto';
import type { Operation } from '../coordinator/coordinator.js';
import { RefusedError, UnreachableError } from '../errors.js';
import { decodeCluster, encodeCluster } from '../model/change-records.js';
import { releasesOf } from './cluster-release.js';
import { type AdminContext, isoTime, pathsOf } from './context.js';

export interface InitializedCluster {
  readonly kind: 'created' | 'plan';
  readonly cluster: string;
  readonly coordinator: string;
  readonly operations: readonly Operation[];
}

/** @throws RefusedError `cluster_exists` */
export async function initCluster(
  context: AdminContext,
  { dryRun = false }: { readonly dryRun?: boolean } = {},
): Promise<InitializedCluster> {
  const { coordinator, cluster } = context;
  const paths = pathsOf(context);
  const id = randomUUID();
  const below: readonly Operation[] = [
    {
      kind: 'create',
      path: paths.cluster,
      data: encodeCluster({ schema: 1, id, createdAt: isoTime(context), ...(await releasesOf(context)) }),
    },
    { kind: 'create', path: paths.sets, data: '' },
    { kind: 'create', path: paths.intents, data: '' },
    { kind: 'create', path: paths.leases, data: '' },
    { kind: 'create', path: paths.admins, data: '' },
  ];
  for (;;) {
    await coordinator.sync();
    const existing = await coordinator.read(paths.cluster);
    if (existing) {
      if (decodeCluster(existing.data, paths.cluster).id === id) break;
      throw new RefusedError(
        'cluster_exists',
        `Cluster ${cluster} exists already at ${coordinator.display}.`,
        {
          hint: 'It is ready to use: see shovel cluster status.',
          details: { cluster },
        },
      );
    }
    const root = await coordinator.read(paths.root);
    const operations: readonly Operation[] = root
      ? below
      : [{ kind: 'create', path: paths.root, data: '' }, ...below];
    if (dryRun) return { kind: 'plan', cluster, coordinator: coordinator.display, operations };
    try {
      const result = await coordinator.multi(operations);
      if (result.kind === 'done') break;
    } catch (error) {
      // Whether it was made shows by its id.
      if (!(error instanceof UnreachableError) || error.code !== 'coordinator_outcome_unknown') throw error;
    }
    context.signal.throwIfAborted();
  }
  return { kind: 'created', cluster, coordinator: coordinator.display, operations: [] };
}
