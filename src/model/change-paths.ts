/** Where things live in the coordinator. Names are of [a-z0-9_], so that they are valid parts of a path. */

const ROOT = '/shovel';

export interface ClusterPaths {
  /** `/shovel`: shared by all clusters. */
  readonly root: string;
  readonly cluster: string;
  readonly sets: string;
  readonly intents: string;
  readonly leases: string;
  readonly admins: string;
  set(name: string): string;
  versions(name: string): string;
  version(name: string, version: number): string;
  intent(id: string): string;
  /** The lease of whoever carries out, or finishes, that change. */
  admin(id: string): string;
  /** The lease of the relay of one set on one node. */
  relay(set: string, database: string): string;
}

export function clusterPaths(cluster: string): ClusterPaths {
  const base = `${ROOT}/${cluster}`;
  const sets = `${base}/sets`;
  return {
    root: ROOT,
    cluster: base,
    sets,
    intents: `${base}/intents`,
    leases: `${base}/leases`,
    admins: `${base}/admins`,
    set: (name) => `${sets}/${name}`,
    versions: (name) => `${sets}/${name}/versions`,
    version: (name, version) => `${sets}/${name}/versions/${version}`,
    intent: (id) => `${base}/intents/${id}`,
    admin: (id) => `${base}/admins/${id}`,
    relay: (set, database) => `${base}/leases/${set}.${database}`,
  };
}
