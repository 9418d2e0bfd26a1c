/**
 * A private server for one test: its own ports, data and settings, whatever else runs. It lives in a folder of the
 * test's process and ends with it, SIGKILL included: a guardian sees to that, and if that is killed too, the next
 * `up` or `down`.
 */

import { randomInt } from 'node:crypto';
import { chmod, mkdtemp, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ConfigurationError, UnreachableError } from '../../src/errors.js';
import { findFreePorts } from '../../src/postgres/embedded/free-port.js';
import { startGuardian } from '../../src/postgres/embedded/guardian.js';
import { addressOf, findService, portCount, portsPerMember, type Service } from './catalog.js';
import { controlServer, type ServerControl } from './control.js';
import { withLock } from './lock.js';
import { endProcess, startOf } from './processes.js';
import { prepareRecipes } from './recipes/prepare.js';
import type { Recipe, ServerPlan } from './recipes/recipe.js';
import { becomesReady, diagnose, launchPlan } from './server.js';
import { openFolder, type Site } from './site.js';
import { readState, type ServerRecord, takenPorts } from './state.js';
import { privateFolder } from './sweep.js';

export interface EphemeralOptions {
  /** In the server's own words: postgresql.conf, zoo.cfg, server.properties, redis.conf. */
  readonly settings?: Readonly<Record<string, string>>;
  /** ZooKeeper only: 1 or 3 members. */
  readonly members?: number;
}

export interface EphemeralService {
  /** In the form of the service's TEST_* variable. */
  readonly address: string;
  /** Data, configuration and logs. */
  readonly directory: string;
  /** One per process. */
  readonly servers: readonly ServerControl[];
  /** The first, which is the only one but in an ensemble. */
  readonly server: ServerControl;
  /** Stops all and removes the folder. May be called twice. */
  close(): Promise<void>;
}

const TRIES = 3;

/**
 * Starts a private service like the named one of the catalog (`pg`, `pg15`, `zk`, `kafka`, `kafka39`, `stomp`, …);
 * resolves when it serves.
 * @throws ConfigurationError `services_unknown` and those of prepareRecipes; UnreachableError `service_not_started`
 */
export async function startEphemeralAt(
  site: Site,
  { name, settings, members }: EphemeralOptions & { readonly name: string },
): Promise<EphemeralService> {
  const known = findService(name);
  if (known === undefined) {
    throw new ConfigurationError('services_unknown', `no such service: ${name}`, {
      hint: 'See scripts/services/README.md',
    });
  }
  const service = {
    ...known,
    members: members ?? known.members,
    settings: { ...known.settings, ...settings },
  };
  for (let attempt = 1; ; attempt += 1) {
    // Under one lock, so that nobody takes the site for unused and removes what the recipe has put there.
    const begun = await withLock(site.directory, {
      progress: site.progress,
      task: async () => {
        const [recipe] = await prepareRecipes(site, [service]);
        if (recipe === undefined) throw new Error(`no recipe for ${name}`);
        return { recipe, directory: await makeFolder(site, name) };
      },
    });
    const result = await attemptStart(site, { service, ...begun });
    if ('address' in result) return result;
    if (result.worthAnotherTry && attempt < TRIES) continue;
    throw new UnreachableError(
      'service_not_started',
      `a private ${name} did not start: ${result.lines.at(-1) ?? ''}`,
      {
        hint: 'Look for a full disk or too little memory.',
        details: { log: result.lines },
      },
    );
  }
}

interface Attempt {
  readonly service: Service;
  readonly recipe: Recipe;
  readonly directory: string;
}

type Failure = ReturnType<typeof diagnose>;

async function attemptStart(
  site: Site,
  { service, recipe, directory }: Attempt,
): Promise<EphemeralService | Failure> {
  const guardian = startGuardian({ directory });
  const ports = await findFreePorts(portCount(service), {
    start: randomInt(1_000_000),
    taken: takenPorts(readState(site)),
  });
  const plan = () => recipe.plan(directory, { ports, settings: service.settings });
  const records = new Map<number, ServerRecord>();
  const watch = () => guardian.watch([...records.values()].map((record) => record.pid));
  const close = async () => {
    await Promise.all([...records.values()].map(endProcess));
    await rm(directory, { recursive: true, force: true, maxRetries: 3 });
    // The owner's folder goes with its last service.
    await rmdir(dirname(directory)).catch(() => undefined);
    guardian.release();
  };
  try {
    const plans = await plan();
    for (const [i, entry] of plans.entries()) {
      records.set(i, await launchPlan(entry));
      watch();
    }
    const failed = await firstFailure(plans, records);
    if (failed !== undefined) {
      const why = diagnose(failed);
      await close();
      return why;
    }
    const controls = plans.map((_, i) =>
      controlServer({
        port: ports[i * portsPerMember(service)] ?? 0,
        current: () => records.get(i),
        changed: (record) => {
          if (record === undefined) records.delete(i);
          else records.set(i, record);
          watch();
        },
        plan: async () => planAt(await plan(), i),
      }),
    );
    return ephemeral({ address: addressOf(service, ports), directory, controls, close });
  } catch (error) {
    await close();
    throw error;
  }
}

interface Parts {
  readonly address: string;
  readonly directory: string;
  readonly controls: readonly ServerControl[];
  readonly close: () => Promise<void>;
}

function ephemeral({ address, directory, controls, close }: Parts): EphemeralService {
  const [first] = controls;
  if (first === undefined) throw new Error('a service without a process');
  let closing: Promise<void> | undefined;
  return {
    address,
    directory,
    servers: controls,
    server: first,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

async function firstFailure(
  plans: readonly ServerPlan[],
  records: ReadonlyMap<number, ServerRecord>,
): Promise<ServerPlan | undefined> {
  const ready = await Promise.all(
    plans.map(async (plan, i) => {
      const record = records.get(i);
      return record !== undefined && (await becomesReady(plan, { record }));
    }),
  );
  return plans.find((_, i) => ready[i] !== true);
}

/** The plan of one process; the others' configuration was written again too, with the same content. */
export function planAt(plans: readonly ServerPlan[], index: number): ServerPlan {
  const plan = plans[index];
  if (plan === undefined) throw new Error(`no process ${index}`);
  return plan;
}

/** `private/PID-START/NAME-XXXXXX`, open to PostgreSQL's account. */
async function makeFolder(site: Site, name: string): Promise<string> {
  const start = startOf(process.pid)?.replaceAll(/[^A-Za-z0-9]/g, '') ?? '';
  const owner = openFolder(join(privateFolder(site), `${process.pid}-${start}`));
  const folder = await mkdtemp(join(owner, `${name}-`));
  await chmod(folder, 0o755);
  return folder;
}
