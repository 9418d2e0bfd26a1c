/** PostgreSQL as `shovel demo` runs it: up in a moment, only for who has the password, and gone without a trace. */

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { findMarked, startOf } from '../../scripts/services/processes.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { findPostgresBinaries, type PostgresBinaries } from '../../src/postgres/embedded/binaries.js';
import { startEmbeddedPostgres } from '../../src/postgres/embedded/embedded-postgres.js';
import { findFreePorts, isPortFree } from '../../src/postgres/embedded/free-port.js';
import { until } from '../support/until.js';

const PARENT = fileURLToPath(new URL('../fixtures/embedded-parent.ts', import.meta.url));
const binaries = findPostgresBinaries({ major: 18 });
const folders: string[] = [];

function newFolder(): string {
  const folder = join(tmpdir(), `shovel-embedded-test-${randomBytes(6).toString('hex')}`);
  folders.push(folder);
  return folder;
}

function connect(dsn: string): Promise<PostgresConnection> {
  return openConnection({ dsn, name: 'of the tests', applicationName: 'shovel-test' });
}

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

describe('startEmbeddedPostgres', () => {
  it('serves with the settings, lets in nobody without the password, and leaves nothing', async () => {
    const directory = newFolder();
    const server = await startEmbeddedPostgres({
      binaries,
      directory,
      settings: { max_prepared_transactions: '7' },
    });
    const connection = await connect(server.url);
    expect(await connection.query('show max_prepared_transactions')).toEqual([
      { max_prepared_transactions: '7' },
    ]);
    expect(
      await connection.query('select rolsuper::text from pg_roles where rolname = current_user'),
    ).toEqual([{ rolsuper: 'true' }]);
    const url = new URL(server.url);
    url.password = 'guess';
    await expect(connect(url.href)).rejects.toMatchObject({ code: 'database_login_refused' });
    await Promise.all([server.stop(), server.stop()]);
    expect(server.ended.aborted).toBe(true);
    expect(existsSync(directory)).toBe(false);
    expect(startOf(server.pid)).toBeUndefined();
    expect(await isPortFree(server.port)).toBe(true);
    await connection.end().catch(() => undefined);
  });

  it('keeps the folder when asked to', async () => {
    const directory = newFolder();
    const server = await startEmbeddedPostgres({ binaries, directory, keep: true });
    await server.stop();
    expect(existsSync(join(directory, 'data', 'PG_VERSION'))).toBe(true);
  });

  it('tells when the server ends on its own, and can still be stopped', async () => {
    const directory = newFolder();
    const server = await startEmbeddedPostgres({ binaries, directory });
    process.kill(server.pid, 'SIGKILL');
    await until('the end is noticed', () => server.ended.aborted);
    await server.stop();
    expect(existsSync(directory)).toBe(false);
  });

  it('refuses a folder that holds something, and leaves it alone', async () => {
    const directory = newFolder();
    mkdirSync(directory);
    writeFileSync(join(directory, 'precious'), '');
    await expect(startEmbeddedPostgres({ binaries, directory })).rejects.toMatchObject({
      code: 'embedded_postgres_directory',
      exitCode: 21,
    });
    expect(existsSync(join(directory, 'precious'))).toBe(true);
  });

  it('fails when its port is taken, and leaves nothing', async () => {
    const directory = newFolder();
    const [port = 0] = await findFreePorts(1, { start: process.pid });
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(port, '127.0.0.1', resolve));
    await expect(startEmbeddedPostgres({ binaries, directory, port })).rejects.toMatchObject({
      code: 'embedded_postgres_not_started',
      exitCode: 23,
    });
    other.close();
    expect(existsSync(directory)).toBe(false);
  });

  describe('of an installation that lacks files', () => {
    /** The programs of this one, beside what else is named. */
    function partOf(...names: readonly string[]): PostgresBinaries {
      const native = newFolder();
      for (const name of names)
        cpSync(join(binaries.native, name), join(native, name), { recursive: true, verbatimSymlinks: true });
      return { ...binaries, native };
    }

    it('says which library is missing', async () => {
      const directory = newFolder();
      await expect(startEmbeddedPostgres({ binaries: partOf('bin'), directory })).rejects.toMatchObject({
        code: 'embedded_postgres_broken',
        exitCode: 20,
        message: expect.stringMatching(/^PostgreSQL 18 .* does not run: .*lib/),
        hint: expect.stringContaining('node_modules'),
      });
      expect(existsSync(directory)).toBe(false);
    });

    it('says what initdb says first, not how it tidied up', async () => {
      const directory = newFolder();
      const part = partOf('bin', 'lib', 'pg-symlinks.json');
      await expect(startEmbeddedPostgres({ binaries: part, directory })).rejects.toMatchObject({
        code: 'embedded_postgres_initdb_failed',
        exitCode: 23,
        message: expect.stringMatching(/^initdb failed: file ".*postgres\.bki" does not exist$/),
        hint: expect.stringContaining('100 MB'),
        details: { directory },
      });
      expect(existsSync(directory)).toBe(false);
    });
  });

  it.each([0, 200, 500])('ends when told to after %i ms, and leaves nothing', async (afterMs) => {
    const directory = newFolder();
    const reason = new Error('enough');
    const stop = new AbortController();
    setTimeout(() => stop.abort(reason), afterMs);
    const outcome = await startEmbeddedPostgres({ binaries, directory, signal: stop.signal }).then(
      (server) => server.stop().then(() => 'started'),
      (error: unknown) => error,
    );
    expect([reason, 'started']).toContain(outcome);
    expect(existsSync(directory)).toBe(false);
    expect(findMarked(directory).filter(({ argv }) => !argv.includes('shovel-guardian'))).toEqual([]);
  });

  it('does not outlive a starter that was killed', async () => {
    const directory = newFolder();
    const parent = spawn(process.execPath, ['--import', 'tsx', PARENT, directory], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const pid = Number(await new Promise((resolve) => parent.stdout.once('data', resolve)));
    expect(startOf(pid)).toBeDefined();
    parent.kill('SIGKILL');
    await until('server and folder are gone', () => startOf(pid) === undefined && !existsSync(directory));
  });

  it('does not leave an initdb behind when its starter was killed', async () => {
    const directory = newFolder();
    const parent = spawn(process.execPath, ['--import', 'tsx', PARENT, directory], { stdio: 'ignore' });
    await until('initdb runs', () => findMarked(directory).some(({ argv }) => argv[0]?.endsWith('/initdb')), {
      everyMs: 1,
    });
    parent.kill('SIGKILL');
    await until('all is gone', () => findMarked(directory).length === 0 && !existsSync(directory));
  });
});

describe('findPostgresBinaries', () => {
  it('says what to do where there are none', () => {
    expect(() => findPostgresBinaries({ major: 3 })).toThrowError(
      expect.objectContaining({
        code: 'embedded_postgres_missing',
        exitCode: 20,
        hint: expect.stringContaining('optional'),
      }),
    );
  });
});
