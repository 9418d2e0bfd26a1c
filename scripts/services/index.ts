/**
 * The services for tests: run what is needed for as long as this process lives, do harm to one, or have a private
 * one. Same site, same state as `npm run -s services`.
 */

import { ConfigurationError } from '../../src/errors.js';
import { addressOf, findService, portsPerMember, type Service } from './catalog.js';
import { controlServer, type ServerControl } from './control.js';
import { type EphemeralOptions, type EphemeralService, planAt, startEphemeralAt } from './ephemeral.js';
import { prepareRecipes } from './recipes/prepare.js';
import { openSite, type Site, type SiteOptions, serviceFolder } from './site.js';
import { readState, type ServerRecord, withService, writeState } from './state.js';
import { ensure, release } from './supervise.js';

export type { ServerControl } from './control.js';
export type { EphemeralOptions, EphemeralService } from './ephemeral.js';

/**
 * Starts those of the services that do not run and keeps them until this process ends or calls releaseServices.
 * Resolves to their TEST_* variables.
 * @throws ConfigurationError `services_unknown`, `services_package_missing`; UnreachableError `service_not_started`
 */
export async function ensureServices(
  names: readonly string[],
  options: SiteOptions = {},
): Promise<Record<string, string>> {
  const site = openSite(options);
  const services = names.map(known);
  await ensure(site, { services, holder: 'lease' });
  const state = readState(site);
  return Object.fromEntries(
    services.map((service) => [
      service.variable,
      addressOf(service, state.services[service.name]?.ports ?? []),
    ]),
  );
}

/**
 * Stops what this process had started and nobody else needs. Nothing happens without a lease, so it may be called
 * twice. Data stays when `keep`.
 */
export function releaseServices(options: SiteOptions & { readonly keep?: boolean } = {}): Promise<void> {
  return release(openSite(options), { keep: options.keep === true });
}

/**
 * Controls one process of a service that runs. It is everybody's: a test that harms it must be alone with it, and
 * leave it running. For anything else there is startEphemeral. Members of an ensemble count from 0.
 */
export function serviceControl(
  name: string,
  options: SiteOptions & { readonly member?: number } = {},
): ServerControl {
  const site = openSite(options);
  const service = known(name);
  const index = options.member ?? 0;
  const read = () => readState(site).services[name] ?? { ports: [], servers: [] };
  const { ports } = read();
  const named = (record: ServerRecord) => record.name === `member-${index + 1}`;
  return controlServer({
    port: ports[index * portsPerMember(service)] ?? 0,
    current: () => read().servers.find(named),
    changed: (record) => {
      const others = read().servers.filter((server) => !named(server));
      const servers = record === undefined ? others : [...others, record];
      writeState(site, withService(readState(site), name, { ports, servers }));
    },
    plan: async () => planAt(await plans(site, { service, ports }), index),
  });
}

/** A private service of this process, like the named one. */
export function startEphemeral(name: string, options: EphemeralOptions = {}): Promise<EphemeralService> {
  return startEphemeralAt(openSite(), { ...options, name });
}

async function plans(
  site: Site,
  { service, ports }: { readonly service: Service; readonly ports: readonly number[] },
) {
  const [recipe] = await prepareRecipes(site, [service]);
  return (await recipe?.plan(serviceFolder(site, service.name), { ports, settings: service.settings })) ?? [];
}

function known(name: string): Service {
  const service = findService(name);
  if (service !== undefined) return service;
  throw new ConfigurationError('services_unknown', `no such service: ${name}`, {
    hint: 'See scripts/services/README.md',
  });
}
