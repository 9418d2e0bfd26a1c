/**
 * `npm run -s services -- up [NAME...] | down [NAME...] [--keep] | env | status`: the command line. Progress and
 * errors go to standard error; standard output carries what `env` and `status` are asked for and nothing else.
 */

import { ShovelError, UnreachableError, UsageError } from '../../src/errors.js';
import { DEFAULT_SERVICES, findService, SERVICES, type Service } from './catalog.js';
import { openSite, type Site } from './site.js';
import { readState } from './state.js';
import { addresses, down, ensure, runningServices, serves } from './supervise.js';

const USAGE = `Usage: npm run -s services -- COMMAND [NAME...]

  up [NAME...]              start services (default: ${DEFAULT_SERVICES.join(' ')}); they stay until down
  down [NAME...] [--keep]   stop them (default: all) and remove their data, unless --keep
  env                       TEST_* variables of what runs, NAME=value
  status                    what runs and answers

Names: ${SERVICES.map((service) => service.name).join(' ')}
--directory DIR             other services than this checkout's own, apart from them in every way
`;

interface Arguments {
  readonly command: string;
  readonly services: readonly Service[];
  readonly named: boolean;
  readonly keep: boolean;
  readonly directory: string | undefined;
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(USAGE);
    return 0;
  }
  const parsed = parse(args);
  const site = openSite(parsed.directory === undefined ? {} : { directory: parsed.directory });
  switch (parsed.command) {
    case 'up':
      return up(site, parsed);
    case 'down':
      await down(site, { services: parsed.named ? parsed.services : SERVICES, keep: parsed.keep });
      return 0;
    case 'env':
      return env(site);
    default:
      return status(site);
  }
}

function parse(args: readonly string[]): Arguments {
  const words: string[] = [];
  let keep = false;
  let directory: string | undefined;
  for (let i = 0; i < args.length; i += 1) {
    const word = args[i] ?? '';
    if (word === '--keep') keep = true;
    else if (word === '--directory') directory = args[++i] ?? '';
    else words.push(word);
  }
  const [command = '', ...names] = words;
  if (!['up', 'down', 'env', 'status'].includes(command))
    throw usage(`no such command: ${command || '(none)'}`);
  if (directory !== undefined && !directory.startsWith('/'))
    throw usage('--directory wants an absolute path');
  const services = (names.length > 0 ? names : DEFAULT_SERVICES).map(serviceNamed);
  return { command, services, named: names.length > 0, keep, directory };
}

function serviceNamed(name: string): Service {
  const service = findService(name);
  if (service === undefined) throw usage(`no such service: ${name}`);
  return service;
}

function usage(message: string): UsageError {
  return new UsageError('services_usage', message, { hint: 'npm run -s services -- --help' });
}

async function up(site: Site, { services }: Arguments): Promise<number> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop.abort());
  try {
    await ensure(site, { services, holder: 'hand', signal: stop.signal });
    return 0;
  } catch (error) {
    if (stop.signal.aborted) return 130;
    throw error;
  }
}

function env(site: Site): number {
  const entries = Object.entries(addresses(site));
  for (const [name, value] of entries) process.stdout.write(`${name}=${value}\n`);
  if (entries.length > 0) return 0;
  throw new UnreachableError('services_not_running', 'no service runs', {
    hint: 'npm run -s services -- up',
  });
}

/** Exit 22 when something that a person asked for does not answer. */
async function status(site: Site): Promise<number> {
  const state = readState(site);
  const running = runningServices(site);
  const values = addresses(site);
  let healthy = true;
  for (const service of SERVICES) {
    const byHand = state.byHand.includes(service.name);
    if (!running.includes(service) && !byHand) continue;
    const serving = running.includes(service) && (await serves(site, service));
    healthy &&= serving;
    const servers = state.services[service.name]?.servers ?? [];
    const columns = [
      service.name.padEnd(12),
      (serving ? 'up' : running.includes(service) ? 'silent' : 'stopped').padEnd(8),
      servers
        .map((server) => server.pid)
        .join(',')
        .padEnd(22),
      byHand ? 'by hand ' : 'for tests',
      values[service.variable] ?? '',
    ];
    process.stdout.write(`${columns.join('  ').trimEnd()}\n`);
  }
  if (running.length === 0) process.stderr.write('no service runs\n');
  process.stderr.write(`${site.directory}\n`);
  return healthy ? 0 : 22;
}

// A reader that has enough (`| head`) is no error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    if (!(error instanceof ShovelError)) throw error;
    process.stderr.write(`${error.message}\n${error.hint}\n`);
    process.exitCode = error.exitCode;
  },
);
