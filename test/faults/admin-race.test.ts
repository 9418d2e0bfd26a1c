/**
 * Two administrators, two processes, one set: brought to the same point by a failpoint that lets them wait alive, and let
 * go at once. One wins; the other is told by exit code 21 and by words which version the winner made.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { buildCli, type CliResult, runCli, startCli } from '../support/cli.js';
import { createTestDatabase, testZkHosts } from '../support/services.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import type { TestDatabase } from '../support/test-database.js';
import { until } from '../support/until.js';

const TABLES = ['accounts', 'orders', 'items'] as const;

let databases: readonly TestDatabase[];
let coordination: TestDatabase;
let connections: readonly PostgresConnection[];
let folder: string;

beforeAll(async () => {
  await buildCli();
  databases = [await createTestDatabase(), await createTestDatabase()];
  coordination = await createTestDatabase();
  connections = await Promise.all(
    databases.map(({ url }) => openConnection({ dsn: url, name: 'test', applicationName: 'test' })),
  );
  for (const connection of connections) {
    for (const table of TABLES) await connection.script(`create table public.${table} (id int primary key)`);
  }
  folder = temporaryFolder('race');
  const [main, eu] = databases;
  for (const [index] of TABLES.entries()) {
    const tables = TABLES.filter((_, at) => at === 0 || at === index);
    writeFileSync(
      join(folder, `${TABLES[index]}.yaml`),
      `name: example
databases: { main: { dsn: "${main?.url}" }, eu: { dsn: "${eu?.url}" } }
tables: [${tables.map((table) => `{ name: ${table} }`).join(', ')}]
streams: { trail: { file: { path: "-" } } }
`,
    );
  }
});
afterAll(async () => {
  await Promise.all((connections ?? []).map((connection) => connection.end()));
  await Promise.all((databases ?? []).map((database) => database.drop()));
  await coordination?.drop();
});

const file = (table: (typeof TABLES)[number]) => join(folder, `${table}.yaml`);

interface Race {
  readonly name: string;
  /** Whether the set is there before, at version 2 of the name or later. */
  readonly there: boolean;
  readonly one: (version: number) => readonly string[];
  readonly other: (version: number) => readonly string[];
}

const upgrade = (table: (typeof TABLES)[number]) => () => ['set', 'upgrade', file(table)];
const RACES: readonly Race[] = [
  {
    name: 'create and create',
    there: false,
    one: () => ['set', 'create', file('orders')],
    other: () => ['set', 'create', file('items')],
  },
  { name: 'upgrade and upgrade', there: true, one: upgrade('orders'), other: upgrade('items') },
  {
    name: 'upgrade and drop',
    there: true,
    one: upgrade('orders'),
    other: (version) => ['set', 'drop', `example@${version}`],
  },
  {
    name: 'upgrade and rollback',
    there: true,
    one: upgrade('items'),
    other: (version) => ['set', 'rollback', `example@${version - 1}`],
  },
];

describe.each([
  ['ZooKeeper', () => ({ SHOVEL_ZOOKEEPER_HOSTS: `${testZkHosts()}/test/${randomUUID()}` })],
  ['PostgreSQL', () => ({ SHOVEL_COORDINATOR: coordination.url })],
] as const)('two administrators, coordinator on %s', (_, environment) => {
  let env: Readonly<Record<string, string>>;
  beforeAll(async () => {
    env = {
      ...environment(),
      SHOVEL_CLUSTER: `race_${randomBytes(4).toString('hex')}`,
      SHOVEL_LOG_LEVEL: 'error',
    };
    await succeed(['cluster', 'init']);
  });

  async function succeed(args: readonly string[]): Promise<CliResult> {
    const result = await runCli(args, { env });
    expect(result, `shovel ${args.join(' ')}: ${result.stderr}`).toMatchObject({ code: 0 });
    return result;
  }

  async function history(): Promise<readonly { version: number }[]> {
    const result = await runCli(['set', 'history', 'example', '--json'], { env });
    return result.code === 0 ? JSON.parse(result.stdout) : [];
  }
  const newest = async () => Math.max(0, ...(await history()).map(({ version }) => version));

  /** A process that waits at a point, alive. */
  async function startedTo(point: string, args: readonly string[]) {
    const running = startCli([...args, '--json'], {
      env: { ...env, SHOVEL_FAILPOINT: `${point}:pause` },
      timeoutMs: 170_000,
    });
    await until(
      `${args.join(' ')} is at ${point}`,
      () => {
        if (running.child.exitCode !== null) throw new Error(`it ended: ${running.stderr()}`);
        return running.stderr().includes(`paused at ${point}`);
      },
      { timeoutMs: 60_000 },
    );
    return { ...running, goOn: () => running.child.kill('SIGCONT') };
  }

  async function prepare(race: Race): Promise<number> {
    if (!race.there) return newest();
    const live = await runCli(['set', 'inspect', 'example'], { env });
    if (live.code !== 0) await succeed(['set', 'create', file('orders')]);
    await succeed(['set', 'upgrade', file('orders')]);
    await succeed(['set', 'upgrade', file('accounts')]);
    return newest();
  }

  /** One has won, the other was told; nothing is left over. */
  async function checkEnds(ends: readonly CliResult[], version: number): Promise<void> {
    const words = ends.map(({ code, stdout, stderr }) => `${code}: ${stdout}${stderr}`).join('\n');
    expect(ends.map(({ code }) => code).toSorted(), words).toEqual([0, 21]);
    const loser = ends.find(({ code }) => code === 21);
    const { error } = JSON.parse(loser?.stdout ?? '{}');
    expect(error.details.version, words).toBe(version + 1);
    expect(error.message, words).toContain(`version ${version + 1}`);
    const status = JSON.parse((await succeed(['cluster', 'status', '--json'])).stdout);
    expect(status.in_doubt).toEqual([]);
    const inspected = await runCli(['set', 'inspect', 'example', '--json'], { env });
    if (inspected.code !== 0) return;
    const found = JSON.parse(inspected.stdout);
    expect(found.version).toBe(version + 1);
    expect(found.nodes.map((node: { state: string }) => node.state)).toEqual(['capturing', 'capturing']);
  }

  describe.each(RACES)('$name', (race) => {
    it.each(['one first', 'the other first'])(
      'let go at once, %s',
      async (order) => {
        const version = await prepare(race);
        const both = [
          await startedTo('begin.before', race.one(version)),
          await startedTo('begin.before', race.other(version)),
        ];
        for (const one of order === 'one first' ? both : both.toReversed()) one.goOn();
        await checkEnds(await Promise.all(both.map(({ done }) => done)), version);
        if (!race.there) await succeed(['set', 'drop', 'example']);
      },
      180_000,
    );

    it('one has prepared everywhere, the other comes meanwhile', async () => {
      const version = await prepare(race);
      const late = await startedTo('begin.before', race.other(version));
      const first = await startedTo('decide.before', race.one(version));
      late.goOn();
      const told = await late.done;
      first.goOn();
      const won = await first.done;
      expect(won, won.stdout).toMatchObject({ code: 0 });
      await checkEnds([won, told], version);
      if (!race.there) await succeed(['set', 'drop', 'example']);
    }, 180_000);
  });

  it('a change that names the version it starts from is refused once that is another', async () => {
    const [first] = RACES.filter(({ there }) => there);
    const version = first ? await prepare(first) : 0;
    const waiting = await startedTo('begin.before', ['set', 'upgrade', `example@${version}`, file('items')]);
    await succeed(['set', 'upgrade', `example@${version}`, file('orders')]);
    const again = await runCli(['set', 'upgrade', `example@${version}`, file('items'), '--json'], { env });
    expect(again.code).toBe(21);
    expect(JSON.parse(again.stdout).error).toMatchObject({
      code: 'version_mismatch',
      details: { version: version + 1, expected: version },
    });
    waiting.goOn();
    const told = await waiting.done;
    expect(told.code, told.stdout).toBe(21);
    expect(JSON.parse(told.stdout).error.details.version).toBe(version + 1);
  }, 180_000);
});
