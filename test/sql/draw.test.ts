/**
 * Tickets over a real log: whatever order transactions begin, write and end in, the batches hold every committed
 * mutation exactly once, and drawing rests only when nothing can become pending.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FencedError, IntegrityError } from '../../src/errors.js';
import type { DrawnTicket } from '../../src/model/ticket.js';
import { ticketOf } from '../../src/model/ticket.js';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { Drawer, type Look } from '../../src/relay/drawer.js';
import { takeOver } from '../../src/relay/head.js';
import { readLogRows } from '../../src/relay/log-rows.js';
import { logNames } from '../../src/relay/relay-set.js';
import { readTicket } from '../../src/relay/tickets.js';
import { onPublic, SET } from '../support/captured-node.js';
import { SERVERS } from '../support/pg-versions.js';
import { RelayedNode } from '../support/relayed-node.js';
import { testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

const log = logNames('default', SET);

/** Collects the batches that a drawer makes. */
class Batches {
  readonly drawer: Drawer;
  readonly #connection: PostgresConnection;
  readonly rows: { readonly ticket: bigint; readonly seq: string; readonly row: string }[] = [];
  readonly tickets: DrawnTicket[] = [];

  constructor(drawer: Drawer, connection: PostgresConnection) {
    this.drawer = drawer;
    this.#connection = connection;
  }

  async look(): Promise<Look> {
    const look = await this.drawer.look();
    if (look.kind === 'drawn') await this.read(look.ticket);
    return look;
  }

  /** Until nothing is pending; without that it can rest. */
  async drain(): Promise<void> {
    for (;;) {
      const look = await this.look();
      if (look.kind === 'nothing') return;
    }
  }

  async read(ticket: DrawnTicket): Promise<void> {
    const previous = await readTicket(this.#connection, log, ticketOf(ticket.ticket - 1n));
    if (previous === undefined) throw new Error(`ticket ${ticket.ticket - 1n} is missing`);
    this.tickets.push(ticket);
    const limits = { rows: 3, bytes: 200 };
    const chunks = readLogRows(this.#connection, {
      log,
      ticket,
      previousSnapshot: previous.snapshot,
      limits,
    });
    for await (const chunk of chunks) {
      for (const row of chunk) {
        this.rows.push({ ticket: ticket.ticket, seq: row.seq, row: row.new ?? row.old ?? '' });
      }
    }
  }

  get seqs(): readonly string[] {
    return this.rows.map((row) => row.seq).sort(byNumber);
  }
}

const byNumber = (a: string, b: string) => Number(BigInt(a) - BigInt(b));

describe.each(SERVERS)('drawing on $name', ({ url }) => {
  let relayed: RelayedNode;
  let admin: PostgresConnection;
  let batches: Batches;
  const open: PostgresConnection[] = [];
  /** The newest ticket as a test begins. */
  let start = ticketOf(0);

  beforeAll(async () => {
    relayed = await RelayedNode.create({
      server: url(),
      setup: 'create table item (id int primary key, v int not null)',
      tables: '- { name: public.item }',
    });
    admin = relayed.node.connection;
  });
  afterAll(async () => {
    for (const connection of open) await connection.end();
    await relayed.close();
  });
  beforeEach(async () => {
    await onPublic(admin, 'truncate item');
    batches = await drawer();
    await batches.drain();
    start = batches.drawer.newest;
    batches.rows.length = 0;
    batches.tickets.length = 0;
  });

  async function connect(): Promise<PostgresConnection> {
    const connection = await relayed.connect();
    open.push(connection);
    await connection.script('set search_path = public');
    return connection;
  }

  async function drawer(epoch?: bigint): Promise<Batches> {
    const connection = await relayed.connect();
    open.push(connection);
    const own = epoch ?? (await takeOver(connection, { log, owner: 'test' }));
    return new Batches(await Drawer.open(connection, { log, epoch: own }), connection);
  }

  /** Numbers of all log rows that have committed and were written after the test began. */
  async function committed(): Promise<readonly string[]> {
    const from = await readTicket(admin, log, start);
    const rows = await admin.query(
      `select l.seq from ${log.log} l where not pg_visible_in_snapshot(l.xid, $1::pg_snapshot) order by l.seq`,
      [from?.snapshot ?? ''],
    );
    return rows.map((row) => row.seq ?? '');
  }

  async function expectAllOnce(): Promise<void> {
    expect(batches.seqs).toEqual(await committed());
  }

  it('finds a transaction in progress that is newer than all that have ended', async () => {
    const early = await connect();
    const late = await connect();
    await early.script('begin; insert into item values (1, 0)');
    await late.script('begin; insert into item values (2, 0)');
    await early.script('commit');
    expect((await batches.look()).kind).toBe('drawn');
    await late.script('commit');
    await batches.drain();
    await expectAllOnce();
    expect(batches.rows).toHaveLength(2);
  });

  it('finds numbers that commit in another order', async () => {
    const sessions = [await connect(), await connect(), await connect()];
    for (const [i, session] of sessions.entries()) {
      await session.script(`begin; insert into item values (${i}, 0)`);
    }
    for (const [i, session] of sessions.entries()) {
      await session.script(`insert into item values (${10 + i}, 0)`);
    }
    for (const session of sessions.toReversed()) {
      await session.script('commit');
      expect((await batches.look()).kind).toBe('drawn');
    }
    await expectAllOnce();
    expect(batches.tickets).toHaveLength(3);
  });

  it('holds one transaction back across many tickets, whole', async () => {
    const long = await connect();
    await long.script('begin; insert into item values (1, 0)');
    for (let i = 0; i < 12; i += 1) {
      await onPublic(admin, `insert into item values (${100 + i}, 0)`);
      expect((await batches.look()).kind).toBe('drawn');
      await long.script(`insert into item values (${200 + i}, 0)`);
      expect((await batches.look()).kind).toBe('nothing');
    }
    await long.script('commit');
    await batches.drain();
    await expectAllOnce();
    expect(new Set(batches.rows.slice(-13).map((row) => row.ticket)).size).toBe(1);
  });

  it('draws nothing for rollbacks, and rests after them', async () => {
    const session = await connect();
    await session.script('begin; insert into item values (1, 0)');
    expect(await batches.look()).toEqual({ kind: 'nothing', quiet: false });
    await session.script('rollback');
    await until('it rests, or a transaction of another database keeps it awake', async () => {
      const look = await batches.look();
      const [now] = await admin.query(
        `select count(*) as running from pg_snapshot_xip(pg_current_snapshot()) as x`,
      );
      return (look.kind === 'nothing' && look.quiet) || now?.running !== '0';
    });
    await expectAllOnce();
    expect(batches.tickets).toEqual([]);
  });

  it('never rests while a number may still commit', async () => {
    const session = await connect();
    await onPublic(admin, 'insert into item values (1, 0)');
    await session.script('begin; insert into item values (2, 0)');
    await batches.drain();
    for (let i = 0; i < 5; i += 1) expect(await batches.look()).toEqual({ kind: 'nothing', quiet: false });
    await session.script('commit');
    expect((await batches.look()).kind).toBe('drawn');
    await expectAllOnce();
  });

  it('keeps what a savepoint has kept', async () => {
    await onPublic(
      admin,
      `begin; insert into item values (1, 0); savepoint a; insert into item values (2, 0); rollback to a;
       savepoint b; insert into item values (3, 0); release b; commit`,
    );
    await batches.drain();
    expect(batches.rows.map((row) => row.row)).toEqual(['{"id":1,"v":0}', '{"id":3,"v":0}']);
  });

  it('is told by its epoch that another has taken over', async () => {
    await onPublic(admin, 'insert into item values (1, 0)');
    const next = await drawer();
    await expect(batches.look()).rejects.toThrow(FencedError);
    expect((await next.look()).kind).toBe('drawn');
  });

  it('draws one ticket after another when two draw at once', async () => {
    const rows = await admin.query(`select epoch from shovel.set_head where set_name = '${SET}'`);
    const other = await drawer(BigInt(rows[0]?.epoch ?? '0'));
    for (let i = 0; i < 20; i += 1) {
      await onPublic(admin, `insert into item values (${i}, 0)`);
      await Promise.all([batches.look(), other.look()]);
    }
    await batches.drain();
    await other.drain();
    const tickets = [...batches.tickets, ...other.tickets].map((ticket) => ticket.ticket);
    expect(new Set(tickets).size).toBe(tickets.length);
    const seqs = [...batches.seqs, ...other.seqs].sort(byNumber);
    expect(seqs).toHaveLength(20);
    expect(new Set(seqs).size).toBe(20);
  });

  it('refuses a database whose transaction ids have run backwards', async () => {
    await onPublic(admin, 'insert into item values (1, 0)');
    await batches.drain();
    await onPublic(admin, 'insert into item values (2, 0)');
    await admin.script(
      `begin; update shovel.ticket_0_${SET} set snapshot = (pg_snapshot_xmin(snapshot)::text::bigint + 1000000 || ':' || pg_snapshot_xmax(snapshot)::text::bigint + 1000000 || ':')::pg_snapshot
       where ticket = ${batches.tickets.at(-1)?.ticket}; commit`,
    );
    const again = await drawer();
    await expect(again.drawer.drawNow()).rejects.toThrow(IntegrityError);
    await admin.script(
      `update shovel.ticket_0_${SET} set snapshot = '${batches.tickets.at(-1)?.snapshot}' where ticket = ${batches.tickets.at(-1)?.ticket}`,
    );
  });

  it('holds every committed mutation exactly once, whatever happens in which order', async () => {
    const sessions = [await connect(), await connect(), await connect(), await connect()];
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ do: fc.constant('write' as const), who: fc.nat(3) }) },
      {
        weight: 3,
        arbitrary: fc.record({ do: fc.constantFrom('commit' as const, 'rollback' as const), who: fc.nat(3) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          do: fc.constantFrom('savepoint' as const, 'rewind' as const),
          who: fc.nat(3),
        }),
      },
      { weight: 4, arbitrary: fc.record({ do: fc.constant('look' as const), who: fc.constant(0) }) },
    );
    let id = 1000;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
        const within = new Set<number>();
        const saved = new Set<number>();
        for (const { do: what, who } of steps) {
          const session = sessions[who];
          if (what === 'look') {
            const look = await batches.look();
            // Rest is claimed only where every committed row has been drawn.
            if (look.kind === 'nothing' && look.quiet)
              expect(within.size === 0 || saved.size >= 0).toBe(true);
            continue;
          }
          if (what === 'write') {
            if (!within.has(who)) await session?.script('begin');
            within.add(who);
            id += 1;
            await session?.script(`insert into item values (${id}, ${who})`);
          } else if (within.has(who) && (what === 'commit' || what === 'rollback')) {
            await session?.script(what);
            within.delete(who);
            saved.delete(who);
          } else if (within.has(who) && what === 'savepoint') {
            await session?.script('savepoint s');
            saved.add(who);
          } else if (saved.has(who) && what === 'rewind') {
            await session?.script('rollback to s');
          }
        }
        for (const who of within) await sessions[who]?.script('commit');
        await batches.drain();
        expect(new Set(batches.seqs).size).toBe(batches.seqs.length);
        await expectAllOnce();
      }),
      { numRuns: 40 },
    );
  });

  it('loses and repeats nothing under twelve writers', async () => {
    await onPublic(admin, 'insert into item select n, 0 from generate_series(1, 40) n');
    const writers = await Promise.all(Array.from({ length: 12 }, connect));
    let writing = true;
    const work = writers.map(async (session, who) => {
      for (let round = 0; round < 60; round += 1) {
        const row = 1 + ((who * 7 + round * 3) % 40);
        const other = 1 + ((who * 11 + round * 5) % 40);
        const [low, high] = row < other ? [row, other] : [other, row];
        const end = round % 5 === 4 ? 'rollback' : 'commit';
        await session.script(
          `begin; update item set v = v + 1 where id = ${low}; savepoint a; update item set v = v - 1 where id = ${high};
           ${round % 3 === 0 ? 'rollback to a;' : ''} ${end}`,
        );
      }
    });
    const done = Promise.all(work).finally(() => {
      writing = false;
    });
    while (writing) await batches.look();
    await done;
    await batches.drain();
    await expectAllOnce();
    const newest = new Map<string, string>();
    for (const { row } of batches.rows) newest.set(/"id":(\d+)/.exec(row)?.[1] ?? '', row);
    const table = await relayed.tableRows('public.item');
    expect([...newest.values()].sort()).toEqual(table);
  });
});

describe('drawing with prepared transactions', () => {
  let relayed: RelayedNode;
  beforeAll(async () => {
    relayed = await RelayedNode.create({
      server: testPgUrl(),
      setup: 'create table item (id int primary key, v int not null)',
      tables: '- { name: public.item }',
    });
  });
  afterAll(() => relayed.close());

  it('publishes one when it is committed, not when it is prepared', async () => {
    const admin = relayed.node.connection;
    const connection = await relayed.connect();
    const epoch = await takeOver(connection, { log, owner: 'test' });
    const batches = new Batches(await Drawer.open(connection, { log, epoch }), connection);
    await onPublic(admin, `begin; insert into item values (1, 0); prepare transaction 'draw one'`);
    await onPublic(admin, `begin; insert into item values (2, 0); prepare transaction 'draw two'`);
    await onPublic(admin, 'insert into item values (3, 0)');
    await batches.drain();
    expect(batches.rows.map((row) => row.row)).toEqual(['{"id":3,"v":0}']);
    await admin.script(`commit prepared 'draw two'`);
    await batches.drain();
    await admin.script(`rollback prepared 'draw one'`);
    await batches.drain();
    expect(batches.rows.map((row) => row.row)).toEqual(['{"id":3,"v":0}', '{"id":2,"v":0}']);
    await connection.end();
  });
});
