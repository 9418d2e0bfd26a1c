/**
 * The command that starts the tests' servers, against a folder of its own: nothing here touches the servers of other
 * tests. What is promised: `up` may be called at any time, may be killed at any moment, and `down` leaves nothing.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { ensureServices, releaseServices, serviceControl } from '../../scripts/services/index.js';
import { findMarked } from '../../scripts/services/processes.js';
import { openConnection } from '../../src/postgres/connect.js';
import { until } from '../support/until.js';

const MAIN = fileURLToPath(new URL('../../scripts/services/main.ts', import.meta.url));
const LEASE_HOLDER = fileURLToPath(new URL('../fixtures/lease-holder.ts', import.meta.url));
const directory = join(tmpdir(), `shovel-svc-test-${randomBytes(6).toString('hex')}`);

interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function start(...args: string[]): ChildProcess {
  return spawn(process.execPath, ['--import', 'tsx', MAIN, ...args, '--directory', directory], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

function finished(child: ChildProcess): Promise<Result> {
  return new Promise((resolve) => {
    let out = '';
    let err = '';
    child.stdout?.on('data', (data) => {
      out += data;
    });
    child.stderr?.on('data', (data) => {
      err += data;
    });
    child.once('close', (code) => resolve({ code, out, err }));
  });
}

const services = (...args: string[]): Promise<Result> => finished(start(...args));

/** Servers and their tools that belong to the folder, without those that are about to end. */
const servers = () => findMarked(`${directory}/`);

async function queryPg<T>(
  use: (query: (sql: string) => Promise<readonly unknown[]>) => Promise<T>,
): Promise<T> {
  const line = (await services('env')).out.split('\n').find((entry) => entry.startsWith('TEST_PG_URL='));
  const dsn = line?.slice('TEST_PG_URL='.length) ?? '';
  const connection = await openConnection({ dsn, name: 'of the tests', applicationName: 'shovel-test' });
  try {
    return await use((sql) => connection.query(sql));
  } finally {
    await connection.end();
  }
}

beforeEach(async () => {
  await services('down');
});

afterAll(async () => {
  await services('down');
  const left = servers();
  rmSync(directory, { recursive: true, force: true });
  expect(left).toEqual([]);
});

describe('up', () => {
  it('starts services that answer, and nothing more the second time', async () => {
    const first = await services('up', 'pg', 'redis', 'zk');
    expect(first).toMatchObject({ code: 0, out: '' });
    const env = await services('env');
    const pids = servers().map((process) => process.pid);
    expect(env.out).toMatch(
      /^TEST_PG_URL=postgres:\/\/postgres@127\.0\.0\.1:\d+\/postgres\nTEST_ZK_HOSTS=127\.0\.0\.1:\d+\nTEST_REDIS_URL=redis:\/\/127\.0\.0\.1:\d+\n$/,
    );
    expect(await services('up', 'pg', 'redis', 'zk')).toMatchObject({ code: 0, out: '', err: '' });
    expect(servers().map((process) => process.pid)).toEqual(pids);
    expect((await services('env')).out).toBe(env.out);
    expect((await services('status')).code).toBe(0);
  });

  it('gives PostgreSQL what tests need', async () => {
    await services('up', 'pg');
    const rows = await queryPg((query) =>
      query(`select name, setting from pg_settings where name in ('fsync', 'wal_level', 'max_connections',
             'max_prepared_transactions', 'lc_messages', 'server_encoding', 'unix_socket_directories') order by name`),
    );
    expect(rows).toEqual([
      { name: 'fsync', setting: 'on' },
      { name: 'lc_messages', setting: 'C' },
      { name: 'max_connections', setting: '200' },
      { name: 'max_prepared_transactions', setting: '64' },
      { name: 'server_encoding', setting: 'UTF8' },
      { name: 'unix_socket_directories', setting: '' },
      { name: 'wal_level', setting: 'logical' },
    ]);
  });

  it('works when called twice at once', async () => {
    const results = await Promise.all([services('up', 'pg', 'redis'), services('up', 'pg', 'redis')]);
    expect(results.map((result) => result.code)).toEqual([0, 0]);
    expect(servers().length).toBe(2);
  });

  it('works after one that was killed, at whatever moment', async () => {
    const moments: Readonly<Record<string, () => boolean>> = {
      'it has the lock': () => existsSync(join(directory, 'lock')),
      'initdb runs': () => servers().some(({ argv }) => argv[0]?.endsWith('/initdb') === true),
      'a server runs that nobody has written down': () => servers().length > 0,
      'the servers run': () =>
        servers().filter(({ argv }) => /postgres$|redis-server$/.test(argv[0] ?? '')).length === 2,
    };
    for (const [moment, reached] of Object.entries(moments)) {
      const killed = start('up', 'pg', 'redis');
      const end = finished(killed);
      await until(moment, reached, { everyMs: 1 });
      killed.kill('SIGKILL');
      await end;
      expect(await services('up', 'pg', 'redis'), moment).toMatchObject({ code: 0 });
      expect(servers().length, moment).toBe(2);
      expect(await queryPg((query) => query('select 1 as one'))).toEqual([{ one: '1' }]);
      await services('down');
      expect(servers(), moment).toEqual([]);
    }
  });

  it('stops what it started when interrupted, and exits 130', async () => {
    const interrupted = start('up', 'pg', 'redis');
    const end = finished(interrupted);
    await until('a server runs', () => servers().length > 0, { everyMs: 1 });
    interrupted.kill('SIGINT');
    expect((await end).code).toBe(130);
    expect(servers()).toEqual([]);
  });

  it('starts anew what was killed or does not answer, with the same address and data', async () => {
    await services('up', 'pg', 'redis');
    await queryPg(async (query) => query('create table public.kept (id int)'));
    const before = (await services('env')).out;
    serviceControl('pg', { directory }).pause();
    await serviceControl('redis', { directory }).kill();
    expect((await services('status')).code).toBe(22);
    expect(await services('up', 'pg', 'redis')).toMatchObject({ code: 0 });
    expect((await services('env')).out).toBe(before);
    expect(await queryPg((query) => query('select count(*)::text as n from public.kept'))).toEqual([
      { n: '0' },
    ]);
  });

  it('starts PostgreSQL over a postmaster.pid that a crash has left', async () => {
    await services('up', 'pg');
    await serviceControl('pg', { directory }).kill();
    expect(existsSync(join(directory, 'servers', 'pg', 'data', 'postmaster.pid'))).toBe(true);
    expect((await services('up', 'pg')).code).toBe(0);
  });

  it('takes other ports when its own are taken', async () => {
    await services('up', 'redis');
    const port = serviceControl('redis', { directory }).port;
    await services('down', 'redis');
    const other = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen(${port}, '127.0.0.1', () => console.log('up'))`,
    ]);
    try {
      await new Promise((resolve) => other.stdout?.once('data', resolve));
      expect((await services('up', 'redis')).code).toBe(0);
      expect(serviceControl('redis', { directory }).port).not.toBe(port);
    } finally {
      other.kill('SIGKILL');
    }
  });

  it('does not mind a reader that has gone', async () => {
    await services('up', 'redis');
    const child = start('status');
    child.stdout?.destroy();
    child.stderr?.destroy();
    expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(0);
  });

  it('refuses names that it does not know', async () => {
    expect(await services('up', 'oracle')).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringContaining('oracle'),
    });
    expect((await services('leave')).code).toBe(2);
  });

  it('says what went wrong when there is nothing to tell', async () => {
    expect(await services('env')).toMatchObject({ code: 23, out: '', err: expect.stringContaining('-- up') });
  });
});

describe('down', () => {
  it('leaves no process and no data, and may be called again', async () => {
    await services('up', 'pg', 'zk', 'redis');
    expect(servers().length).toBe(3);
    expect((await services('down')).code).toBe(0);
    expect(servers()).toEqual([]);
    expect(existsSync(directory)).toBe(false);
    expect((await services('down')).code).toBe(0);
  });

  it('stops what hangs', async () => {
    await services('up', 'zk');
    serviceControl('zk', { directory }).pause();
    expect((await services('down')).code).toBe(0);
    expect(servers()).toEqual([]);
  });

  it('keeps data when asked to', async () => {
    await services('up', 'pg');
    await services('down', '--keep');
    expect(readFileSync(join(directory, 'servers', 'pg', 'data', 'PG_VERSION'), 'utf8')).toBe('18\n');
  });
});

describe('a test run', () => {
  it('stops at its end what it started', async () => {
    const env = await ensureServices(['redis'], { directory });
    expect(env.TEST_REDIS_URL).toMatch(/^redis:/);
    expect(servers().length).toBe(1);
    await releaseServices({ directory });
    await releaseServices({ directory });
    expect(servers()).toEqual([]);
    expect(existsSync(directory)).toBe(false);
  });

  it('leaves what a person started', async () => {
    await services('up', 'redis');
    await ensureServices(['redis', 'zk'], { directory });
    expect(servers().length).toBe(2);
    await releaseServices({ directory });
    expect(servers().map(({ argv }) => argv[0]?.endsWith('redis-server'))).toEqual([true]);
  });

  it('leaves what another run needs, but not one that was killed', async () => {
    const other = spawn(process.execPath, ['--import', 'tsx', LEASE_HOLDER, directory], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => other.stdout.once('data', resolve));
    await ensureServices(['redis'], { directory });
    await releaseServices({ directory });
    expect(servers().length).toBe(1);
    const ended = finished(other);
    other.kill('SIGKILL');
    await ended;
    await ensureServices(['redis'], { directory });
    await releaseServices({ directory });
    expect(servers()).toEqual([]);
  });
});
