/**
 * The log beside transactions that stay open for long: a dump of the database that is stuck, an old snapshot, a
 * transaction that has written, one that is prepared. Whatever they keep from being given back, writers never wait for
 * the relay, the relay goes on publishing, mutation_log tells, and once they have ended all of schema shovel is as small
 * as it was. Sizes are in pages, nothing is timed.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { SET } from '../support/captured-node.js';
import { type LockWatch, startLockWatch } from '../support/lock-watch.js';
import { RelayedNode, type RunningRelay } from '../support/relayed-node.js';
import { testPgNo2pcUrl, testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

const run = promisify(execFile);
const ROWS = 200;
const PAGE = 8192;
/** The active segment and its tickets may hold what was written last, with their indexes and TOAST. */
const REST_PAGES = 24;
/** Tables that are updated in place: no version of theirs can be cleaned away under an old snapshot. */
const METADATA = ['set_head', 'stream', 'replication_set', 'captured_table', `segment_${SET}`];
const METADATA_PAGES = 4;

interface Holder {
  /** Lets go, and resolves when that is done. */
  readonly release: () => Promise<void>;
}

interface Case {
  readonly name: string;
  readonly server: () => string;
  readonly hold: (relayed: RelayedNode) => Promise<Holder>;
  /** Whether segments go on taking turns meanwhile. */
  readonly turns: boolean;
  /** Rows of its own that are published when it ends. */
  readonly late: number;
}

const WRITE = `insert into item values (100000, 'late')`;

const CASES: readonly Case[] = [
  { name: 'a dump that is stuck', server: testPgNo2pcUrl, hold: startDump, turns: false, late: 0 },
  {
    name: 'an old snapshot',
    server: testPgUrl,
    hold: (relayed) =>
      openTransaction(relayed, 'begin isolation level repeatable read; select 1 from item limit 1'),
    turns: true,
    late: 0,
  },
  {
    name: 'a transaction that has written elsewhere',
    server: testPgNo2pcUrl,
    hold: (relayed) =>
      openTransaction(relayed, 'create table elsewhere (a int); begin; insert into elsewhere values (1)'),
    turns: true,
    late: 0,
  },
  {
    name: 'a transaction that has written',
    server: testPgUrl,
    hold: (relayed) => openTransaction(relayed, `begin; ${WRITE}`),
    turns: false,
    late: 1,
  },
  {
    name: 'a prepared transaction',
    server: testPgUrl,
    hold: async (relayed) => {
      const gid = `log_size_${relayed.nodeId}`;
      const session = await relayed.node.session({ settings: { search_path: 'public' } });
      await session.script(`begin; ${WRITE}; prepare transaction '${gid}'`);
      return { release: () => session.script(`commit prepared '${gid}'`) };
    },
    turns: false,
    late: 1,
  },
];

async function openTransaction(relayed: RelayedNode, script: string): Promise<Holder> {
  const session = await relayed.node.session({ settings: { search_path: 'public' } });
  await session.script(script);
  return { release: () => session.script('commit') };
}

/** Of the whole database, whose output nobody reads until it is let go. */
async function startDump(relayed: RelayedNode): Promise<Holder> {
  const dump = spawn('pg_dump', [relayed.node.url], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = exitOf(dump);
  await until('the dump has its locks and is stuck in a table', async () => {
    const rows = await relayed.node.connection.query(
      `select from pg_stat_activity a where a.datname = current_database() and a.application_name = 'pg_dump'
         and a.wait_event = 'ClientWrite' and a.query ilike 'copy%'
         and (select count(*) from pg_locks l where l.pid = a.pid and l.relation::regclass::text like 'shovel.log_%') >= 3`,
    );
    return rows.length === 1;
  });
  return {
    release: async () => {
      dump.stdout?.resume();
      expect(await ended).toBe('0 ');
    },
  };
}

function exitOf(child: ChildProcess): Promise<string> {
  let said = '';
  child.stderr?.on('data', (chunk) => {
    said += String(chunk);
  });
  return new Promise((resolve) => child.once('close', (code) => resolve(`${code} ${said}`)));
}

describe('the log beside', () => {
  let relayed: RelayedNode;
  let watch: LockWatch | undefined;
  afterEach(async () => {
    await watch?.stop();
    watch = undefined;
    await relayed.close();
  });

  const value = async (sql: string) => (await relayed.node.connection.arrays(sql))[0]?.[0] ?? '';
  /** Heap, indexes and TOAST of everything in schema shovel. */
  const pages = async () =>
    Number(
      await value(
        `select sum(pg_total_relation_size(c.oid)) / ${PAGE} from pg_class c
         where c.relnamespace = 'shovel'::regnamespace and c.relkind = 'r'`,
      ),
    );
  const active = () => value(`select last_value & 3 from shovel.switch_${SET}`);

  /** Fails where a transaction does. */
  async function load(): Promise<void> {
    const script = join(relayed.folder, 'load.pgbench');
    await writeFile(
      script,
      `\\set id random(1, ${ROWS})\nupdate public.item set note = repeat(md5(random()::text), 20) where id = :id;\n`,
    );
    const options = ['-n', '-c', '3', '-t', '150', '-f', script];
    await run('pgbench', [...options, relayed.node.url], {
      env: { ...process.env, PGOPTIONS: '-c synchronous_commit=off' },
    });
  }

  /** As small as it can be: turned, truncated, at rest. */
  const smallAgain = (what: string, most: () => number) =>
    until(what, async () => (await pages()) <= most(), { timeoutMs: 60_000, everyMs: 50 });

  it.each(CASES)('$name', { timeout: 240_000 }, async ({ server, hold, turns, late }) => {
    relayed = await RelayedNode.create({
      server: server(),
      setup: `create table item (id int primary key, note text);
              insert into item select n, '' from generate_series(1, ${ROWS}) n;
              create table filler (a text); alter table filler alter a set storage external;
              insert into filler select repeat(md5(n::text), 3000) from generate_series(1, 300) n`,
      tables: '- { name: public.item }',
    });
    const empty = await pages();
    const relay: RunningRelay = relayed.start();
    await load();
    await relayed.published(relay);
    await smallAgain('it is small before', () => empty + REST_PAGES);

    const holder = await hold(relayed);
    watch = await startLockWatch({ url: relayed.node.url, ours: 'shovel relay' });
    const segments = new Set<string>();
    let turned = 0;
    // Eight turns where segments go on taking turns, else until no segment is left to turn to.
    for (let round = 0; turns ? turned < 8 : round < 5; round += 1) {
      const before = await active();
      await load();
      await relayed.published(relay);
      if (turns) await until('the next segment is in use', async () => (await active()) !== before);
      if ((await active()) !== before) turned += 1;
      segments.add(await active());
    }
    const [row] = await relayed.node.connection.query(
      'select pending_mutations, log_bytes, oldest_open_transaction from shovel.mutation_log',
    );
    const held = await pages();
    for (const table of METADATA) {
      const size = Number(await value(`select pg_relation_size('shovel.${table}') / ${PAGE}`));
      expect(size, table).toBeLessThanOrEqual(METADATA_PAGES);
    }
    expect(row?.pending_mutations).toBe('0');
    expect(row?.oldest_open_transaction).toMatch(/^PT?\d/);
    expect(Number(row?.log_bytes)).toBeLessThanOrEqual(held * PAGE);
    if (turns) {
      expect(segments.size).toBe(3);
      await smallAgain('it is small all the same', () => empty + REST_PAGES);
    } else expect(held).toBeGreaterThan(empty + 4 * REST_PAGES);

    await holder.release();
    await relayed.published(relay);
    await smallAgain('it is small again', () => empty + REST_PAGES);
    const lines = await relayed.lines();
    expect(lines.filter((line) => line.includes('"late"'))).toHaveLength(late);
    await watch.stop();
    expect(watch.looks).toBeGreaterThan(10);
    expect([...watch.waits.values()].filter((wait) => wait.who === 'pgbench')).toEqual([]);
    await relay.stop();
  });
});
