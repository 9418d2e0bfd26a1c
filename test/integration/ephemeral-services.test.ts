/** Private servers of a test: what fault tests may do to them, and that none outlives its test. */

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { startEphemeral } from '../../scripts/services/index.js';
import { probePort } from '../../scripts/services/probe.js';
import { startOf } from '../../scripts/services/processes.js';
import { openConnection } from '../../src/postgres/connect.js';
import { until } from '../support/until.js';

const OWNER = fileURLToPath(new URL('../fixtures/ephemeral-owner.ts', import.meta.url));

const connect = (dsn: string) =>
  openConnection({ dsn, name: 'of the tests', applicationName: 'shovel-test' });

describe('startEphemeral', () => {
  it('gives a PostgreSQL whose committed rows survive a kill', async () => {
    const service = await startEphemeral('pg', { settings: { max_prepared_transactions: '3' } });
    const { server } = service;
    const first = await connect(service.address);
    expect(await first.query('show max_prepared_transactions')).toEqual([{ max_prepared_transactions: '3' }]);
    await first.script('create table public.t (id int); insert into public.t values (1)');
    const pid = server.pid();
    await server.kill();
    expect(server.pid()).toBe(0);
    await until('the connection is lost', () => first.lost.aborted);
    await server.start();
    await server.start();
    expect(server.pid()).not.toBe(pid);
    const second = await connect(service.address);
    expect(await second.query('select id from public.t')).toEqual([{ id: '1' }]);
    await second.end();
    await Promise.all([service.close(), service.close()]);
    expect(existsSync(service.directory)).toBe(false);
  });

  it('gives a server that hangs and wakes', async () => {
    const service = await startEphemeral('redis');
    service.server.pause();
    expect(await probePort('redis', service.server.port)).toBe(false);
    service.server.resume();
    await until('it answers again', () => probePort('redis', service.server.port));
    service.server.pause();
    await service.close();
    expect(await probePort('redis', service.server.port)).toBe(false);
  });

  it('gives an ensemble that does without one of three, not without two', async () => {
    const ensemble = await startEphemeral('zk', { members: 3 });
    const [first, second, third] = ensemble.servers;
    if (first === undefined || second === undefined || third === undefined) throw new Error('three wanted');
    const serving = (port: number) => probePort('zookeeper', port);
    expect(ensemble.address.split(',').length).toBe(3);
    await first.kill();
    await until('two go on', async () => (await serving(second.port)) && (await serving(third.port)));
    await second.stop();
    await until('one alone does not serve', async () => !(await serving(third.port)));
    await Promise.all([first.start(), second.start()]);
    await until('all serve', async () => (await serving(first.port)) && (await serving(third.port)));
    await ensemble.close();
  });

  it('gives a Kafka and a STOMP broker that come back on the same address', async () => {
    const services = await Promise.all([startEphemeral('kafka'), startEphemeral('stomp')]);
    for (const { server, address } of services) {
      await server.kill();
      await server.start();
      await server.restart();
      expect(address).toContain(server.address);
    }
    await Promise.all(services.map((service) => service.close()));
  });

  it('refuses what the catalog does not know', async () => {
    await expect(startEphemeral('oracle')).rejects.toMatchObject({ code: 'services_unknown', exitCode: 20 });
  });

  it('leaves nothing when its owner was killed', async () => {
    const owner = spawn(process.execPath, ['--import', 'tsx', OWNER], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const line = String(await new Promise((resolve) => owner.stdout.once('data', resolve)));
    const owned: readonly { readonly pid: number; readonly directory: string }[] = JSON.parse(line);
    expect(owned.map(({ pid }) => startOf(pid) !== undefined)).toEqual([true, true]);
    owner.kill('SIGKILL');
    await until('all is gone', () =>
      owned.every(({ pid, directory }) => startOf(pid) === undefined && !existsSync(directory)),
    );
  });
});
