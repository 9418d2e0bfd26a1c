/**
 * How a relay that rests learns of work: by the bell where transactions can't be prepared, by looking elsewhere, and by
 * looking wherever the bell was not heard.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { openListener } from '../../src/postgres/listen.js';
import { DatabaseWatch, type Rest, type RestEnd } from '../../src/relay/database-watch.js';
import { logNames } from '../../src/relay/relay-set.js';
import { systemClock } from '../../src/runtime/clock.js';
import { createLogger, silentLogger } from '../../src/runtime/logger.js';
import { onPublic, SET } from '../support/captured-node.js';
import { QUICK, RelayedNode, type RunningRelay } from '../support/relayed-node.js';
import { until } from '../support/until.js';

/** Looking alone would take longer than a test has. */
const DEAF = { ...QUICK, pace: { shortestMs: 5, longestMs: 3_600_000 } };
const QUICK_POLL = { ...QUICK, pace: { shortestMs: 5, longestMs: 200 } };

const NOTIFY = { wake: 'notify' } as const;

/** Of their own: a relay rests only while no transaction is open that was when it last drew, anywhere in the server. */
let silent: EphemeralService;
let preparing: EphemeralService;
beforeAll(async () => {
  [silent, preparing] = await Promise.all([startEphemeral('pg-no2pc'), startEphemeral('pg')]);
});
afterAll(async () => {
  await silent.close();
  await preparing.close();
});

const toClose: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of toClose.splice(0).reverse()) await close();
});

async function nodeOn(server: string): Promise<RelayedNode> {
  const relayed = await RelayedNode.create({
    server,
    setup: `create table item (id int primary key, note text)`,
    tables: '- { name: public.item }',
  });
  toClose.push(() => relayed.close());
  return relayed;
}

function watchOf(relayed: RelayedNode): DatabaseWatch {
  const watch = new DatabaseWatch({
    clock: systemClock,
    logger: silentLogger(),
    openBell: (heard) =>
      openListener({
        dsn: relayed.node.url,
        name: 'database main',
        applicationName: 'bell',
        channel: 'shovel_wake',
        ...heard,
      }),
  });
  toClose.push(() => watch.close());
  return watch;
}

async function value(relayed: RelayedNode, sql: string): Promise<string> {
  const [row] = await relayed.node.connection.arrays(sql);
  return row?.[0] ?? '';
}

const switchOf = (relayed: RelayedNode) => value(relayed, `select last_value & 12 from shovel.switch_${SET}`);
const bellOf = (relayed: RelayedNode) => value(relayed, `select last_value from shovel.bell_${SET}`);
const armed = (relayed: RelayedNode) =>
  until(
    'the bell is armed',
    async () => (await switchOf(relayed)) === '4' && (await bellOf(relayed)) === '1',
  );
const insert = (relayed: RelayedNode, id: number) =>
  onPublic(relayed.node.connection, `insert into item values (${id}, 'n')`);
const has = async (relayed: RelayedNode, id: number) =>
  (await relayed.lines()).some((line) => line.includes(`"after":{"id":${id},`));
const comes = (relayed: RelayedNode, id: number) => until(`row ${id} is published`, () => has(relayed, id));

async function stopped(relay: RunningRelay, relayed: RelayedNode): Promise<void> {
  expect((await relay.stop()).error).toBeUndefined();
  expect(await switchOf(relayed)).toBe('0');
}

describe('a relay that rests where nothing can be prepared', () => {
  it.each(['auto', 'notify'] as const)(
    'is woken by the bell, again and again, and takes it back when it stops: %s',
    async (wake) => {
      const relayed = await nodeOn(silent.address);
      const relay = relayed.start({ watch: watchOf(relayed), tuning: DEAF, change: { wake } });
      for (const id of [1, 2, 3]) {
        await armed(relayed);
        await insert(relayed, id);
        await comes(relayed, id);
      }
      await armed(relayed);
      await stopped(relay, relayed);
    },
  );

  it('finds by looking what a transaction kept silent that rang and rolled back', async () => {
    const relayed = await nodeOn(silent.address);
    const relay = relayed.start({ watch: watchOf(relayed), tuning: QUICK_POLL, change: NOTIFY });
    await armed(relayed);
    const open = await relayed.node.session();
    await open.script(`begin; insert into public.item values (1, 'rings')`);
    expect(await bellOf(relayed)).toBe('0');
    await insert(relayed, 2);
    await open.script('rollback');
    await comes(relayed, 2);
    await stopped(relay, relayed);
  });

  it('publishes a transaction that took its numbers long before it committed, on an otherwise silent database', async () => {
    const relayed = await nodeOn(silent.address);
    const relay = relayed.start({ watch: watchOf(relayed), tuning: QUICK_POLL, change: NOTIFY });
    await armed(relayed);
    const open = await relayed.node.session();
    await open.script(`begin; insert into public.item values (1, 'early')`);
    // The relay has seen the number, and found nothing to publish.
    await until(
      'the relay is awake',
      async () => (await bellOf(relayed)) === '0' && (await switchOf(relayed)) === '0',
    );
    await open.script('commit');
    await comes(relayed, 1);
    await stopped(relay, relayed);
  });

  it('hears the bell again after its connection was cut', async () => {
    const relayed = await nodeOn(silent.address);
    const relay = relayed.start({ watch: watchOf(relayed), tuning: DEAF, change: NOTIFY });
    await armed(relayed);
    const pids = () =>
      relayed.node.connection.query(
        `select pid from pg_stat_activity where datname = current_database() and application_name = 'bell'`,
      );
    const [before] = await pids();
    await relayed.node.connection.query('select pg_terminate_backend($1::int)', [before?.pid ?? '']);
    await until('it listens again', async () => (await pids()).some(({ pid }) => pid !== before?.pid));
    await until('it was heard', async () => {
      await armed(relayed);
      const id = Number(await value(relayed, 'select count(*) from public.item')) + 1;
      await insert(relayed, id);
      await comes(relayed, id);
      return true;
    });
    await stopped(relay, relayed);
  });

  it('takes back what a relay left armed that died', async () => {
    const relayed = await nodeOn(silent.address);
    await relayed.node.connection.script(`select shovel.arm_${SET}(0)`);
    const relay = relayed.start({ tuning: QUICK_POLL });
    await until('it is taken back', async () => (await switchOf(relayed)) === '0');
    await insert(relayed, 1);
    await comes(relayed, 1);
    await stopped(relay, relayed);
  });

  it('polls where the set says so', async () => {
    const relayed = await nodeOn(silent.address);
    const watch = new WatchOfPolls({
      clock: systemClock,
      logger: silentLogger(),
      openBell: () => {
        throw new Error('nobody is to listen');
      },
    });
    const relay = relayed.start({ watch, tuning: QUICK_POLL, change: { wake: 'poll' } });
    await insert(relayed, 1);
    await comes(relayed, 1);
    await until('its pauses are as long as can be', () => watch.longest === QUICK_POLL.pace.longestMs);
    expect(await switchOf(relayed)).toBe('0');
    await stopped(relay, relayed);
  });
});

/** Remembers the longest pause that it was asked for. */
class WatchOfPolls extends DatabaseWatch {
  longest = 0;

  override rest(rest: Rest): Promise<RestEnd> {
    const pauseMs = (nowMs: number) => {
      const pause = rest.pauseMs(nowMs);
      this.longest = Math.max(this.longest, pause);
      return pause;
    };
    return super.rest({ ...rest, pauseMs });
  }
}

describe('a relay that rests where transactions can be prepared', () => {
  it('polls without a word where the set leaves it to the relay', async () => {
    const relayed = await nodeOn(preparing.address);
    const said: string[] = [];
    const logger = createLogger({
      level: 'info',
      format: 'json',
      destination: { write: (line) => said.push(line) },
    });
    const watch = new WatchOfPolls({
      clock: systemClock,
      logger: silentLogger(),
      openBell: async () => ({ stop: async () => undefined }),
    });
    const relay = relayed.start({ watch, tuning: QUICK_POLL, change: { wake: 'auto' }, logger });
    await insert(relayed, 1);
    await comes(relayed, 1);
    await until('it would have asked for the bell', () => watch.longest === QUICK_POLL.pace.longestMs);
    await stopped(relay, relayed);
    expect(said.filter((line) => line.includes('max_prepared_transactions'))).toEqual([]);
  });

  it('polls, says so once where notify was asked for, and hinders no prepared transaction', async () => {
    const relayed = await nodeOn(preparing.address);
    const said: string[] = [];
    const logger = createLogger({
      level: 'info',
      format: 'json',
      destination: { write: (line) => said.push(line) },
    });
    const relay = relayed.start({
      watch: watchOf(relayed),
      tuning: QUICK_POLL,
      change: { wake: 'notify' },
      logger,
    });
    await until('it has said why it polls', () =>
      said.some((line) => line.includes('max_prepared_transactions')),
    );
    const writer = await relayed.node.session();
    const gid = `wake ${relayed.nodeId}`;
    await writer.script(`begin; insert into public.item values (1, 'n'); prepare transaction '${gid}'`);
    expect(await has(relayed, 1)).toBe(false);
    await writer.script(`commit prepared '${gid}'`);
    await comes(relayed, 1);
    await insert(relayed, 2);
    await comes(relayed, 2);
    expect(said.filter((line) => line.includes('max_prepared_transactions'))).toHaveLength(1);
    await stopped(relay, relayed);
  });

  it('draws nothing and publishes nothing while nothing is written', async () => {
    const relayed = await nodeOn(preparing.address);
    const relay = relayed.start({ watch: watchOf(relayed), tuning: QUICK_POLL, change: NOTIFY });
    await insert(relayed, 1);
    await comes(relayed, 1);
    const lines = (await relayed.published(relay)).length;
    const ticket = await value(relayed, `select max(ticket) from shovel.ticket_${SET}`);
    await onPublic(relayed.node.connection, 'begin; insert into item values (2, null); rollback');
    await onPublic(relayed.node.connection, 'create table other (id int); insert into other values (1)');
    await insert(relayed, 3);
    await comes(relayed, 3);
    expect(BigInt(await value(relayed, `select max(ticket) from shovel.ticket_${SET}`))).toBe(
      BigInt(ticket) + 1n,
    );
    // A begin marker, the row, an end marker.
    expect(await relayed.lines()).toHaveLength(lines + 3);
    await stopped(relay, relayed);
  });
});

describe('the watch of a database', () => {
  it('looks at all sets that rest by one query, and wakes those whose sequence moved', async () => {
    const relayed = await nodeOn(preparing.address);
    const { connection } = relayed.node;
    const sets = ['a', 'b', 'c'].map((set) => logNames('default', set));
    for (const { set } of sets) await connection.script(`create sequence shovel.seq_${set}`);
    let queries = 0;
    const counted: PostgresConnection = {
      ...connection,
      display: connection.display,
      serverVersion: connection.serverVersion,
      lost: connection.lost,
      query: (text, values) => {
        queries += 1;
        return connection.query(text, values);
      },
    };
    const watch = new DatabaseWatch({ clock: systemClock, logger: silentLogger() });
    const stop = new AbortController();
    const ends = new Map<string, string>();
    const rest = (log: ReturnType<typeof logNames>) =>
      watch
        .rest({
          log,
          connection: counted,
          seq: 0n,
          pauseMs: () => 5,
          untilMs: Number.POSITIVE_INFINITY,
          signal: stop.signal,
        })
        .then((end) => ends.set(log.set, end));
    const all = sets.map(rest);
    await until('they were looked at a few times', () => queries >= 5);
    expect(ends.size).toBe(0);
    await connection.query(`select nextval('shovel.seq_b')`);
    await until('b is woken', () => ends.get('b'));
    expect([...ends]).toEqual([['b', 'woken']]);
    // A set that was dropped wakes everyone, who then finds out by himself.
    await connection.script('drop sequence shovel.seq_c');
    await Promise.all(all);
    expect(new Map(ends)).toEqual(
      new Map([
        ['a', 'woken'],
        ['b', 'woken'],
        ['c', 'woken'],
      ]),
    );
    const last = rest(sets[0] ?? logNames('default', 'a'));
    stop.abort();
    await last;
    expect(ends.get('a')).toBe('still');
  });
});
