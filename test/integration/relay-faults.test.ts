/** What goes wrong around a relay, one thing at a time: nothing is lost, nothing comes twice, nobody else is held up. */
import { copyFile, rm } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigurationError, IntegrityError } from '../../src/errors.js';
import { ticketOf } from '../../src/model/ticket.js';
import { readLogRows } from '../../src/relay/log-rows.js';
import { logNames } from '../../src/relay/relay-set.js';
import { readTicket } from '../../src/relay/tickets.js';
import { onPublic, SET } from '../support/captured-node.js';
import { brokerGone, type Fault, faultyPublisher } from '../support/faulty-publisher.js';
import { Reader } from '../support/reader.js';
import { QUICK, RelayedNode } from '../support/relayed-node.js';
import { testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

const SMALL = { messages: 4, bytes: 1_000_000 };

describe('a relay', () => {
  let relayed: RelayedNode;
  let next = 0;
  const create = (streams: readonly string[]) =>
    RelayedNode.create({
      server: testPgUrl(),
      setup: 'create table item (id int primary key, v int not null, note text)',
      tables: '- { name: public.item }',
      streams,
    });
  beforeEach(async ({ task }) => {
    relayed = await create(task.name.includes('one stream') ? ['good', 'bad'] : ['trail']);
  });
  afterEach(() => relayed.close());

  const run = (script: string) => onPublic(relayed.node.connection, script);
  const insert = (rows: number) => {
    next += rows;
    return run(
      `insert into item select n, 0, 'note ' || n from generate_series(${next - rows + 1}, ${next}) n`,
    );
  };

  async function expectEqual(stream = 'trail'): Promise<Reader> {
    const reader = new Reader({ keys: { 'public.item': ['id'] } });
    for (const line of await relayed.lines(stream)) reader.take(line);
    expect(reader.within).toBe(false);
    expect(reader.rows('public.item')).toEqual(await relayed.tableRows('public.item'));
    return reader;
  }

  it.each<Fault>(['before', 'after'])(
    'goes on exactly where it was when publishing fails %s each part',
    async (kind) => {
      const calls = { count: 0 };
      for (let batch = 0; batch < 4; batch += 1) {
        await insert(9);
        const relay = relayed.start({
          createPublisher: async (stream) =>
            faultyPublisher(relayed.filePublisher(stream, SMALL), {
              calls,
              // Every part fails once, and a batch has three: each attempt gets one further at most.
              fault: (call) => (call % 4 === 0 ? undefined : call % 7 < 3 ? kind : undefined),
            }),
        });
        await relayed.published(relay);
        expect(await relay.stop()).toMatchObject({ ended: 'stopped', error: undefined });
      }
      const reader = await expectEqual();
      expect(reader.mutations).toHaveLength(36);
      expect(calls.count).toBeGreaterThan(12);
    },
  );

  it('keeps one stream going, and draws, while another fails', async () => {
    const calls = { count: 0 };
    let broken = true;
    const relay = relayed.start({
      streams: { good: relayed.fileStream('good'), bad: relayed.fileStream('bad') },
      createPublisher: async (stream) =>
        stream === 'good'
          ? relayed.filePublisher(stream)
          : faultyPublisher(relayed.filePublisher(stream), {
              calls,
              fault: () => (broken ? 'before' : undefined),
            }),
    });
    for (let i = 0; i < 4; i += 1) {
      await insert(3);
      await relayed.published(relay, 'good');
    }
    expect((await expectEqual('good')).ticket).toBe(4n);
    await until('the bad stream is trying again', () => relay.stats.get('bad')?.state === 'retrying');
    expect(relay.stats.get('bad')?.error?.code).toBe('broker_unreachable');
    broken = false;
    await relayed.published(relay, 'bad');
    expect(relay.stats.get('bad')).toMatchObject({ state: 'running', error: undefined });
    await expectEqual('bad');
    await relay.stop();
  });

  it('ends one stream for good where trying again is no use, and says so at the end', async () => {
    await insert(2);
    const error = new ConfigurationError('login_refused', 'The broker refuses the login.', {
      hint: 'Mend it.',
    });
    const summary = await relayed.once({
      streams: { good: relayed.fileStream('good'), bad: relayed.fileStream('bad') },
      createPublisher: async (stream) =>
        stream === 'good'
          ? relayed.filePublisher(stream)
          : faultyPublisher(relayed.filePublisher(stream), {
              calls: { count: 0 },
              fault: () => 'before',
              error,
            }),
    });
    expect(summary.error).toBe(error);
    expect(summary.streams.map((one) => [one.stream, one.state])).toEqual(
      expect.arrayContaining([
        ['good', 'stopped'],
        ['bad', 'failed'],
      ]),
    );
    await expectEqual('good');
  });

  it('publishes nothing in a format that it does not have', async () => {
    await insert(1);
    const trail = relayed.fileStream('trail');
    const { error } = await relayed.once({ streams: { trail: { ...trail, format: 'golconde' } } });
    expect(error).toMatchObject({ code: 'format_not_supported', exitCode: 20 });
    expect(await relayed.lines()).toEqual([]);
  });

  it('gives up on a broker that stays away when it runs once', async () => {
    await insert(1);
    const summary = await relayed.once({
      createPublisher: async (stream) =>
        faultyPublisher(relayed.filePublisher(stream), { calls: { count: 0 }, fault: () => 'before' }),
      tuning: { ...QUICK, giveUpMs: 300 },
    });
    expect(summary.error?.code).toBe(brokerGone().code);
    expect(summary.error?.exitCode).toBe(23);
  });

  it('loses its connections to the database and goes on', async () => {
    const relay = relayed.start();
    for (let i = 0; i < 3; i += 1) {
      await insert(5);
      await relayed.published(relay);
      await relayed.node.connection.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name = 'shovel relay'`,
      );
    }
    await insert(5);
    await relayed.published(relay);
    await expectEqual();
    await relay.stop();
  });

  it('stands by while another has the set, and takes over when that one ends', async () => {
    const first = relayed.start();
    await insert(3);
    await relayed.published(first);
    const second = relayed.start({ coordinator: await relayed.anotherCoordinator() });
    await insert(3);
    await relayed.published(first);
    expect(second.stats.size).toBe(0);
    await first.stop();
    await insert(3);
    await relayed.published(second);
    await second.stop();
    expect((await expectEqual()).ticket).toBe(3n);
  });

  it('refuses to run once beside another', async () => {
    const first = relayed.start();
    await until('it runs', () => first.stats.get('trail')?.state === 'running');
    const ended = relayed.once({
      coordinator: await relayed.anotherCoordinator(),
      tuning: { ...QUICK, giveUpMs: 200 },
    });
    await expect(ended).rejects.toMatchObject({
      code: 'relay_running',
      exitCode: 21,
      message: 'Set example, database main: another relay (test) is publishing it.',
    });
    await first.stop();
  });

  it('pauses when the lease is lost, and goes on when it can be had again', async () => {
    const coordinator = await relayed.anotherCoordinator();
    const losing = new AbortController();
    let leases = 0;
    const relay = relayed.start({
      coordinator: new Proxy(coordinator, {
        get(target, name) {
          if (name !== 'tryLease') {
            const value: unknown = Reflect.get(target, name);
            return typeof value === 'function' ? value.bind(target) : value;
          }
          return async (path: string, owner: string) => {
            const lease = await target.tryLease(path, owner);
            leases += 1;
            return lease !== undefined && leases === 1
              ? { ...lease, epoch: lease.epoch, lost: losing.signal, release: () => lease.release() }
              : lease;
          };
        },
      }),
    });
    await insert(3);
    await relayed.published(relay);
    losing.abort();
    await until('it has the lease again', () => leases > 1 && relay.stats.get('trail')?.state === 'running');
    await insert(3);
    await relayed.published(relay);
    expect((await relayed.node.connection.query('select epoch from shovel.set_head'))[0]?.epoch).toBe('2');
    expect(await relay.stop()).toMatchObject({ ended: 'stopped', error: undefined });
    await expectEqual();
    await coordinator.stop();
  });

  it('hears of a connection that is lost while the next rows are read only when it wants them', async () => {
    await insert(40);
    await relayed.once();
    const log = logNames('default', SET);
    const connection = await relayed.connect();
    const ticket = await readTicket(connection, log, ticketOf(1n));
    const before = await readTicket(connection, log, ticketOf(0n));
    if (ticket === undefined || before === undefined) throw new Error('there is no ticket');
    let chunks = 0;
    const losing = {
      ...connection,
      arrays: async (text: string, values?: readonly (string | null)[]) => {
        chunks += 1;
        if (chunks === 2) {
          await relayed.node.connection.query(
            `select pg_terminate_backend(pid, 5000) from pg_stat_activity
             where datname = current_database() and application_name = 'shovel relay'`,
          );
        }
        return connection.arrays(text, values);
      },
    };
    const unhandled: unknown[] = [];
    const note = (error: unknown) => unhandled.push(error);
    process.on('unhandledRejection', note);
    const rows = readLogRows(losing, {
      log,
      ticket,
      previousSnapshot: before.snapshot,
      transactions: false,
      limits: { rows: 5, bytes: 50_000 },
    });
    expect((await rows.next()).value).toHaveLength(5);
    await until('the connection is lost', () => connection.lost.aborted);
    await until('an error would have been noticed', () => relayed.node.connection.query('select 1 as one'));
    expect(unhandled).toEqual([]);
    await expect(rows.next()).rejects.toMatchObject({ code: 'database_unreachable' });
    process.off('unhandledRejection', note);
  });

  it('stops with exit 26 when another epoch has begun', async () => {
    const relay = relayed.start();
    await insert(1);
    await relayed.published(relay);
    await relayed.node.connection.script('update shovel.set_head set epoch = epoch + 1');
    await insert(1);
    await expect(relay.ended).rejects.toMatchObject({
      code: 'relay_fenced',
      exitCode: 26,
      message: expect.stringContaining('set example'),
      hint: 'This relay stops; the other one goes on.',
    });
  });

  it('ends without an error when it is told to stop as it finds that another has taken over', async () => {
    const coordinator = await relayed.anotherCoordinator();
    const relay = relayed.start({
      coordinator: new Proxy(coordinator, {
        get(target, name) {
          if (name === 'leaseHolder') {
            return async () => {
              relay.stop().catch(() => undefined);
              return { epoch: 1_000n, owner: 'the other', sinceMs: 0 };
            };
          }
          const value: unknown = Reflect.get(target, name);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      }),
    });
    await insert(1);
    await relayed.published(relay);
    await relayed.node.connection.script('update shovel.set_head set epoch = epoch + 1');
    await insert(1);
    expect(await relay.ended).toMatchObject({ ended: 'stopped', error: undefined });
    await coordinator.stop();
  });

  it('stops with exit 25 when the database has forgotten the epoch', async () => {
    const relay = relayed.start();
    await insert(1);
    await relayed.published(relay);
    await relayed.node.connection.script('update shovel.set_head set epoch = epoch - 1');
    await insert(1);
    await expect(relay.ended).rejects.toMatchObject({ code: 'source_went_back', exitCode: 25 });
  });

  it('ends when its set is dropped', async () => {
    const relay = relayed.start();
    await insert(1);
    await relayed.published(relay);
    await relayed.node.connection.script('delete from shovel.replication_set');
    await relayed.node.removeCapture();
    expect(await relay.ended).toMatchObject({ ended: 'dropped' });
  });

  it('takes a missing function for what it is, not for a dropped set', async () => {
    await relayed.node.connection.script(`alter function shovel.mark_${SET}() rename to other`);
    await expect(relayed.once()).rejects.toMatchObject({ code: 'database_error' });
    await relayed.node.connection.script(`alter function shovel.other() rename to mark_${SET}`);
  });

  it('refuses a database that only looks like the node', async () => {
    await relayed.node.connection.script("update shovel.replication_set set system_identifier = '1'");
    await expect(relayed.once()).rejects.toMatchObject({ code: 'node_changed', exitCode: 25 });
  });

  it('refuses to go on where the source has lost what was published', async () => {
    await insert(2);
    await relayed.once();
    await relayed.node.connection.script(
      `update shovel.ticket_0_${SET} set snapshot = '5:5:' where ticket = 1`,
    );
    const summary = await relayed.once();
    expect(summary.error).toBeInstanceOf(IntegrityError);
    expect(summary.error?.code).toBe('source_went_back');
    await relayed.node.connection.script(`delete from shovel.ticket_0_${SET} where ticket = 1`);
    expect((await relayed.once()).error?.code).toBe('source_went_back');
  });

  it('refuses a destination that was put back to an older state, until it is told where to begin', async () => {
    const sides = [relayed.path('trail'), `${relayed.path('trail')}.position`];
    await insert(2);
    await relayed.once();
    for (const path of sides) await copyFile(path, `${path}.copy`);
    const keep = { ...QUICK, trim: { rotateBytes: 1e9, rotateAgeMs: 1e9, idleBytes: 1e9, pinnedMs: 1e9 } };
    await insert(2);
    await relayed.once({ tuning: keep });
    // In place: the file keeps its inode, as restoring with cp does.
    for (const path of sides) await copyFile(`${path}.copy`, path);
    expect((await relayed.once({ tuning: keep })).error).toMatchObject({
      code: 'position_went_back',
      exitCode: 25,
    });
    expect((await relayed.once({ tuning: keep, fromTicket: 2n })).error).toBeUndefined();
    expect((await expectEqual()).ticket).toBe(2n);
    expect((await relayed.once({ tuning: keep, fromTicket: 9n })).error?.code).toBe('ticket_ahead');
  });

  it('takes the node at its word where a file is gone', async () => {
    await insert(2);
    await relayed.once();
    for (const path of ['', '.position', '.lock']) await rm(`${relayed.path('trail')}${path}`);
    await insert(2);
    await relayed.once();
    const reader = new Reader({ keys: { 'public.item': ['id'] } });
    for (const line of await relayed.lines()) reader.take(line);
    expect(reader.mutations.map((one) => one.ticket)).toEqual([2n, 2n]);
  });

  it('stops, whatever a publisher does', async () => {
    const relay = relayed.start({
      createPublisher: async (stream) => {
        const publisher = relayed.filePublisher(stream);
        return {
          display: publisher.display,
          limits: publisher.limits,
          start: () => publisher.start(),
          stop: () => publisher.stop(),
          publish: () => new Promise(() => undefined),
        };
      },
      tuning: { ...QUICK, graceMs: 200 },
    });
    await insert(1);
    await until('it publishes', () => relay.stats.get('trail')?.state === 'running');
    await until('a ticket was drawn', async () => {
      const rows = await relayed.node.connection.query(
        `select max(ticket) as ticket from shovel.ticket_${SET}`,
      );
      return rows[0]?.ticket === '1';
    });
    await relay.stop();
  });
});
