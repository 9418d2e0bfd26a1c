/**
 * Starts and stops the site's services. Every change happens under the site's lock; what was launched is written down
 * at once, and what a killed command could not write down is found by the next one's sweep. A service that runs and
 * answers is left alone, one that runs and does not answer is started anew.
 */

import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { UnreachableError } from '../../src/errors.js';
import { findFreePorts, isPortFree } from '../../src/postgres/embedded/free-port.js';
import { addressOf, portCount, SERVICES, type Service } from './catalog.js';
import { dropLease, leasedNames, takeLease } from './leases.js';
import { withLock } from './lock.js';
import { probeService } from './probe.js';
import { endProcess } from './processes.js';
import { prepareRecipes } from './recipes/prepare.js';
import type { Recipe, ServerPlan } from './recipes/recipe.js';
import { removeIdleSite } from './remove-site.js';
import { becomesReady, diagnose, isAlive, launchPlan } from './server.js';
import { type Site, serviceFolder } from './site.js';
import { readState, type ServerRecord, takenPorts, withService, writeState } from './state.js';
import { sweep } from './sweep.js';

export interface EnsureRequest {
  readonly services: readonly Service[];
  /** A person's services stay until `down`; a test run's as long as a run that needs them lives. */
  readonly holder: 'hand' | 'lease';
  readonly signal?: AbortSignal | undefined;
}

/**
 * All of the services run and answer when it returns. Where one fails the others stay, except on abort: then what
 * this call started is stopped.
 * @throws ShovelError of the first that failed; the signal's reason
 */
export function ensure(site: Site, request: EnsureRequest): Promise<void> {
  const { services, holder, signal } = request;
  const task = async () => {
    await sweep(site);
    const names = services.map((service) => service.name);
    if (holder === 'lease') takeLease(site, names);
    const missing = await notServing(site, services);
    const recipes = await prepareRecipes(site, missing);
    signal?.throwIfAborted();
    const begun = Date.now();
    const results = await Promise.allSettled(
      missing.map((service, i) => startService(site, { service, recipe: recipes[i], signal })),
    );
    const failed = results.find((result) => result.status === 'rejected');
    if (signal?.aborted === true) await stopServices(site, missing);
    if (failed !== undefined) throw failed.reason;
    if (missing.length > 0)
      site.progress(`up: ${missing.map((s) => s.name).join(' ')} (${seconds(begun)} s)`);
    const state = readState(site);
    if (holder === 'hand') writeState(site, { ...state, byHand: [...new Set([...state.byHand, ...names])] });
  };
  return withLock(site.directory, { progress: site.progress, signal, task });
}

export interface DownRequest {
  readonly services: readonly Service[];
  /** Leave data and logs for the next `up`. */
  readonly keep: boolean;
}

/** None of the services runs when it returns, whoever needs them. */
export function down(site: Site, { services, keep }: DownRequest): Promise<void> {
  const task = async () => {
    await sweep(site);
    await stopServices(site, services);
    if (!keep) removeData(site, services);
    const state = readState(site);
    const names = new Set(services.map((service) => service.name));
    writeState(site, { ...state, byHand: state.byHand.filter((name) => !names.has(name)) });
    if (!keep) removeIdleSite(site);
  };
  return withLock(site.directory, { progress: site.progress, task });
}

/** Ends this process's lease and stops what neither a person nor another run needs. Safe to call without a lease. */
export function release(site: Site, { keep }: { readonly keep: boolean }): Promise<void> {
  const task = async () => {
    // Also without a lease: to look at a site is to make its folder.
    if (!dropLease(site)) return removeIdleSite(site);
    await sweep(site);
    const state = readState(site);
    const needed = new Set([...leasedNames(site), ...state.byHand]);
    const idle = runningServices(site).filter((service) => !needed.has(service.name));
    await stopServices(site, idle);
    if (!keep) {
      removeData(site, idle);
      removeIdleSite(site);
    }
  };
  return withLock(site.directory, { progress: site.progress, task });
}

/** Services all of whose processes live, in the catalog's order. */
export function runningServices(site: Site): Service[] {
  const state = readState(site);
  return SERVICES.filter((service) => {
    const servers = state.services[service.name]?.servers ?? [];
    return servers.length === service.members && servers.every(isAlive);
  });
}

/** The TEST_* variables of what runs. */
export function addresses(site: Site): Record<string, string> {
  const state = readState(site);
  return Object.fromEntries(
    runningServices(site).map((service) => [
      service.variable,
      addressOf(service, state.services[service.name]?.ports ?? []),
    ]),
  );
}

/** Those of `services` that do not run, or run and do not answer; the latter are stopped. */
async function notServing(site: Site, services: readonly Service[]): Promise<Service[]> {
  const alive = new Set(runningServices(site));
  const answers = await Promise.all(
    services.map(async (service) => alive.has(service) && (await serves(site, service))),
  );
  const missing = services.filter((_, i) => answers[i] !== true);
  await stopServices(site, missing);
  return missing;
}

/** Whether it answers; asked a few times, because one answer may be late on a busy machine. */
export async function serves(site: Site, service: Service): Promise<boolean> {
  const ports = readState(site).services[service.name]?.ports ?? [];
  for (let attempt = 0; attempt < 8; attempt += 1) {
    if (await probeService(service, ports)) return true;
  }
  return false;
}

interface StartOptions {
  readonly service: Service;
  readonly recipe: Recipe | undefined;
  readonly signal: AbortSignal | undefined;
}

const TRIES = 3;

async function startService(site: Site, { service, recipe, signal }: StartOptions): Promise<void> {
  if (recipe === undefined) return;
  const directory = serviceFolder(site, service.name);
  for (let attempt = 1; ; attempt += 1) {
    const ports = await choosePorts(site, { service, anew: attempt > 1 });
    const plans = await recipe.plan(directory, { ports, settings: service.settings, signal });
    signal?.throwIfAborted();
    const failed = await launchAll(site, { service, plans, ports, signal });
    if (failed === undefined) return;
    await stopServices(site, [service]);
    signal?.throwIfAborted();
    const { lines, worthAnotherTry } = diagnose(failed);
    if (worthAnotherTry && attempt < TRIES) {
      await delay(500);
      continue;
    }
    for (const line of lines) site.progress(`${service.name}: ${line}`);
    throw new UnreachableError('service_not_started', `${service.name} did not start`, {
      hint: `Its log is ${failed.log}`,
      details: { service: service.name, log: failed.log },
    });
  }
}

interface LaunchAllOptions {
  readonly service: Service;
  readonly plans: readonly ServerPlan[];
  readonly ports: readonly number[];
  readonly signal: AbortSignal | undefined;
}

/** The first plan that did not become ready, or `undefined`. */
async function launchAll(site: Site, options: LaunchAllOptions): Promise<ServerPlan | undefined> {
  const { service, plans, ports, signal } = options;
  const servers: ServerRecord[] = [];
  for (const plan of plans) {
    servers.push(await launchPlan(plan));
    writeState(site, withService(readState(site), service.name, { ports, servers }));
  }
  const ready = await Promise.all(
    plans.map(async (plan, i) => {
      const record = servers[i];
      return record !== undefined && (await becomesReady(plan, { record, signal }));
    }),
  );
  return plans.find((_, i) => ready[i] !== true);
}

interface PortOptions {
  readonly service: Service;
  /** Not those of the last time. */
  readonly anew: boolean;
}

/** The ports of the last time if they are free. Written down before anything else happens, so nobody takes them. */
async function choosePorts(site: Site, { service, anew }: PortOptions): Promise<readonly number[]> {
  const last = readState(site).services[service.name]?.ports ?? [];
  const usable = await Promise.all(last.map(isPortFree));
  if (!anew && last.length === portCount(service) && usable.every(Boolean)) return last;
  for (;;) {
    const taken = takenPorts(readState(site));
    const found = await findFreePorts(portCount(service), { start: site.portStart, taken });
    const state = readState(site);
    const now = takenPorts(state);
    if (found.some((port) => now.has(port) && !taken.has(port))) continue;
    writeState(site, withService(state, service.name, { ports: found, servers: [] }));
    return found;
  }
}

async function stopServices(site: Site, services: readonly Service[]): Promise<void> {
  await Promise.all(
    services.map(async (service) => {
      const record = readState(site).services[service.name];
      if (record === undefined) return;
      await Promise.all(record.servers.map(endProcess));
      writeState(site, withService(readState(site), service.name, { ...record, servers: [] }));
    }),
  );
}

function removeData(site: Site, services: readonly Service[]): void {
  for (const service of services) {
    const folder = join(site.directory, 'servers', service.name);
    if (existsSync(folder)) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

function seconds(begun: number): string {
  return ((Date.now() - begun) / 1000).toFixed(1);
}
