/**
 * Which test runs need which services: one file per run, named after its process. The last run to end stops what
 * nobody needs any more. A run that was killed has no say: its file counts for nothing.
 */

import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startOf } from './processes.js';
import { openFolder, type Site } from './site.js';

/** Adds services to this process's lease. */
export function takeLease(site: Site, names: readonly string[]): void {
  const file = leaseFile(site, process.pid);
  const all = new Set([...(existsSync(file) ? (readLease(file)?.names ?? []) : []), ...names]);
  writeFileSync(file, `${startOf(process.pid)}\n${[...all].join(' ')}\n`);
}

/** False when this process has none. */
export function dropLease(site: Site): boolean {
  const file = leaseFile(site, process.pid);
  const had = existsSync(file);
  rmSync(file, { force: true });
  return had;
}

/** Names that living processes need; files of dead ones are removed. */
export function leasedNames(site: Site): Set<string> {
  const names = new Set<string>();
  for (const entry of readdirSync(leaseFolder(site))) {
    const file = join(leaseFolder(site), entry);
    const lease = readLease(file);
    if (lease !== undefined && startOf(Number(entry)) === lease.started) {
      for (const name of lease.names) names.add(name);
    } else {
      rmSync(file, { force: true });
    }
  }
  return names;
}

/** Whether a run lives that has a lease, whatever it needs. */
export function isLeased(site: Site): boolean {
  leasedNames(site);
  return readdirSync(leaseFolder(site)).length > 0;
}

function readLease(
  file: string,
): { readonly started: string; readonly names: readonly string[] } | undefined {
  try {
    const [started = '', names = ''] = readFileSync(file, 'utf8').split('\n');
    return { started, names: names.split(' ').filter((name) => name !== '') };
  } catch {
    return undefined;
  }
}

function leaseFolder(site: Site): string {
  return openFolder(join(site.directory, 'leases'));
}

function leaseFile(site: Site, pid: number): string {
  return join(leaseFolder(site), String(pid));
}
