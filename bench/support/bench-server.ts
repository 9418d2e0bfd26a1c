/**
 * A private PostgreSQL server for measurements, from Debian's packages, because the peers' C triggers are built for
 * it. CPU is what the kernel charged to backends that have ended: other load of the machine does not count into it.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigurationError } from '../../src/errors.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { startEmbeddedPostgres } from '../../src/postgres/embedded/embedded-postgres.js';

const MAJOR = 15;
export const PROGRAMS = `/usr/lib/postgresql/${MAJOR}`;

/** Who writes: neither a superuser nor the owner of what a trigger writes to. */
export const APPLICATION = 'application';

/** Into the tables that the database's schema `public` has by now. */
export async function letApplicationWrite(connection: PostgresConnection): Promise<void> {
  await connection.script(`do $$ begin
      create role ${APPLICATION} in role pg_read_server_files;
    exception when duplicate_object then null;
    end $$;
    grant usage on schema public to ${APPLICATION};
    grant select, insert, update, delete on all tables in schema public to ${APPLICATION}`);
}

export interface BenchServer {
  /** A superuser's URL of a database. */
  url(database: string): string;
  connect(database: string): Promise<PostgresConnection>;
  /** CPU of all ended children of the postmaster, seconds. */
  endedCpu(): number;
  /** How many children the postmaster has, ended ones too that it has not yet heard of. */
  children(): number;
  /** Stops the server and leaves its files until `stop`. Returns the data directory. For those started with `keep`. */
  halt(): Promise<string>;
  stop(): Promise<void>;
}

/** @throws ConfigurationError `bench_packages_missing` */
export async function startBenchServer(
  settings: Readonly<Record<string, string>>,
  { keep = false }: { readonly keep?: boolean } = {},
): Promise<BenchServer> {
  for (const [file, name] of [
    [`${PROGRAMS}/bin/postgres`, `postgresql-${MAJOR}`],
    [`${PROGRAMS}/lib/pgq_triggers.so`, `postgresql-${MAJOR}-pgq3`],
    [`${PROGRAMS}/lib/slony1_funcs.2.2.11.so`, `postgresql-${MAJOR}-slony1-2`],
    ['/usr/share/slony1/slony1_base.2.2.11.sql', 'slony1-2-bin'],
  ] as const) {
    if (existsSync(file)) continue;
    throw new ConfigurationError('bench_packages_missing', `the measurement needs Debian's package ${name}`, {
      hint: `apt-get install --no-install-recommends ${name}`,
    });
  }
  const parent = await mkdtemp(join(tmpdir(), 'shovel-bench-'));
  // The server may run under another account.
  await chmod(parent, 0o755);
  const directory = join(parent, 'server');
  const server = await startEmbeddedPostgres({
    binaries: { major: MAJOR, native: PROGRAMS },
    directory,
    settings,
    keep,
  });
  const url = (database: string) => {
    const parsed = new URL(server.url);
    parsed.pathname = `/${database}`;
    return parsed.href;
  };
  const connect = (database: string) =>
    openConnection({ dsn: url(database), name: 'of the measurement', applicationName: 'bench' });
  // The process that was started may be one that starts the server.
  const postmaster = Number(readFileSync(join(directory, 'data', 'postmaster.pid'), 'utf8').split('\n')[0]);
  const children = () =>
    readFileSync(`/proc/${postmaster}/task/${postmaster}/children`, 'utf8').trim().split(' ').length;
  return {
    url,
    connect,
    endedCpu: () => endedTicks(postmaster) / 100,
    children,
    async halt() {
      await server.stop();
      return join(directory, 'data');
    },
    async stop() {
      await server.stop();
      await rm(parent, { recursive: true, force: true });
    },
  };
}

/** CPU of one process, seconds, as its scheduler counted it. */
export function ownCpu(pid: number): number {
  const [nanoseconds] = readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ');
  return Number(nanoseconds) / 1e9;
}

/** Clock ticks are 10 ms on Linux. */
function endedTicks(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return Number(fields[13]) + Number(fields[14]);
}

/** Standard output of a program that must succeed. */
export function runProgram(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let said = '';
    child.stdout.on('data', (chunk) => {
      out += String(chunk);
    });
    child.stderr.on('data', (chunk) => {
      said += String(chunk);
    });
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0 ? resolve(out) : reject(new Error(`${program} failed: ${said}`)),
    );
  });
}
