/** Streams with `transactions: true`: whole transactions one after another, the same ones after every interruption. */
import { afterEach, describe, expect, it } from 'vitest';
import { memberText } from '../../src/model/json-text.js';
import type { StreamConfiguration } from '../../src/model/set-configuration.js';
import { onPublic } from '../support/captured-node.js';
import { type Fault, faultyPublisher } from '../support/faulty-publisher.js';
import { RelayedNode } from '../support/relayed-node.js';
import { testPgUrl } from '../support/services.js';

interface Message {
  readonly ticket: string;
  readonly seq: bigint;
  readonly xid: string;
  readonly table: string;
  readonly block: string;
  /** All of it but the block. */
  readonly rest: string;
}

const read = (line: string): Message => {
  const source = memberText(line, 'source') ?? '';
  const block = memberText(line, 'transaction') ?? '';
  return {
    ticket: memberText(source, 'ticket') ?? '',
    seq: BigInt(JSON.parse(memberText(source, 'seq') ?? '"0"')),
    xid: memberText(source, 'txId') ?? '',
    table: memberText(source, 'table') ?? '',
    block,
    rest: line.replace(`"transaction":${block}`, ''),
  };
};

/** By the number of the call: few, because each is waited out a little longer. */
const FAULTS: ReadonlyMap<number, Fault> = new Map([
  [2, 'after'],
  [5, 'before'],
  [9, 'after'],
]);

describe('a stream of whole transactions', () => {
  let relayed: RelayedNode;
  afterEach(() => relayed.close());

  const stream = (name: string, transactions: boolean): StreamConfiguration => ({
    ...relayed.fileStream(name),
    transactions,
  });
  const messages = async (name: string) =>
    (await relayed.lines(name)).filter((line) => !/^\{"op":"[be]"/.test(line)).map(read);

  /** Four transactions that write in turns, one of which ends long after the others; then many small ones. */
  async function write(): Promise<void> {
    const sessions = await Promise.all([1, 2, 3, 4].map(() => relayed.connect()));
    for (const session of sessions) await onPublic(session, 'begin');
    for (let round = 0; round < 60; round += 1) {
      for (const [i, session] of sessions.entries()) {
        const id = round * 4 + i;
        await onPublic(session, `insert into ${id % 3 === 0 ? 'a' : 'b'} values (${id}, 0)`);
        if (round === 30)
          await onPublic(session, `update a set v = v + 1 where id = ${id - (id % 3)} and id % 4 = ${i}`);
      }
    }
    for (const session of [...sessions].reverse()) {
      await onPublic(session, 'commit');
      await session.end();
    }
    await onPublic(relayed.node.connection, 'update a set v = v + 1; delete from b where id % 2 = 0');
  }

  it('has the mutations of the others, in the order of their transactions, each with its place', async () => {
    relayed = await RelayedNode.create({
      server: testPgUrl(),
      setup: 'create table a (id int primary key, v int); create table b (id int primary key, v int)',
      tables: '- { name: public.a }\n- { name: public.b }',
      streams: ['trail', 'whole'],
    });
    await write();
    const summary = await relayed.once({
      streams: { trail: stream('trail', false), whole: stream('whole', true) },
    });
    expect(summary.error).toBeUndefined();
    const [plain, whole] = [await messages('trail'), await messages('whole')];
    expect(whole.map(({ rest }) => rest).sort()).toEqual(plain.map(({ rest }) => rest).sort());
    expect(whole.map(({ rest }) => rest)).not.toEqual(plain.map(({ rest }) => rest));
    expect(new Set(plain.map(({ block }) => block))).toEqual(new Set(['null']));

    const lastOf = new Map<string, bigint>();
    for (const { xid, seq } of plain)
      lastOf.set(xid, seq > (lastOf.get(xid) ?? 0n) ? seq : (lastOf.get(xid) ?? 0n));
    const wanted = [...plain].sort((a, b) => {
      const [one, other] = [lastOf.get(a.xid) ?? 0n, lastOf.get(b.xid) ?? 0n];
      const difference = one === other ? a.seq - b.seq : one - other;
      return difference < 0n ? -1 : 1;
    });
    expect(whole.map(({ seq }) => seq)).toEqual(wanted.map(({ seq }) => seq));
    const places = new Map<string, number>();
    const place = (name: string) => {
      places.set(name, (places.get(name) ?? 0) + 1);
      return places.get(name);
    };
    for (const { xid, table, block } of whole) {
      const [total, own] = [place(xid), place(`${xid} ${table}`)];
      expect(block).toBe(`{"id":"${xid}","total_order":${total},"data_collection_order":${own}}`);
    }
  });

  it('is the same after every interruption', async () => {
    relayed = await RelayedNode.create({
      server: testPgUrl(),
      setup: 'create table a (id int primary key, v int); create table b (id int primary key, v int)',
      tables: '- { name: public.a }\n- { name: public.b }',
      streams: ['whole', 'broken'],
    });
    await write();
    const calls = { count: 0 };
    const limits = { messages: 17, bytes: 100_000 };
    const summary = await relayed.once({
      streams: { whole: stream('whole', true), broken: stream('broken', true) },
      createPublisher: async (name) =>
        name === 'whole'
          ? relayed.filePublisher(name)
          : faultyPublisher(relayed.filePublisher(name, limits), {
              calls,
              fault: (call) => FAULTS.get(call),
            }),
    });
    expect(summary.error).toBeUndefined();
    expect(calls.count).toBeGreaterThan(20);
    expect(await relayed.lines('broken')).toEqual(await relayed.lines('whole'));
  });

  it('puts nested writes in order, too, and reads a batch in chunks of bytes', async () => {
    relayed = await RelayedNode.create({
      server: testPgUrl(),
      setup: `create table t (id int primary key, v int, wide text);
        create function bump() returns trigger language plpgsql as $$ begin
          if NEW.id % 10 = 1 then update t set v = v + 100 where id = NEW.id + 1; end if; return null; end $$;
        create trigger bump after insert on t for each row execute function bump()`,
      tables: '- { name: public.t }',
      streams: ['whole'],
    });
    const others = await Promise.all([0, 1].map(() => relayed.connect()));
    for (const other of others) await onPublic(other, 'begin');
    for (const [i, other] of others.entries()) {
      const ids = `generate_series(${i * 1000 + 1}, ${i * 1000 + 200})`;
      await onPublic(
        other,
        `insert into t select g, 0, repeat('x', 900) from ${ids} g order by g % 10 <> 2, g`,
      );
    }
    for (const other of others) await onPublic(other, 'commit');
    const summary = await relayed.once({ streams: { whole: stream('whole', true) } });
    expect(summary.error).toBeUndefined();
    const rows = new Map<string, string>();
    for (const line of await relayed.lines('whole')) {
      const after = memberText(line, 'after');
      if (after !== undefined) rows.set(memberText(after, 'id') ?? '', after);
    }
    expect([...rows.values()].sort()).toEqual(await relayed.tableRows('public.t'));
    for (const other of others) await other.end();
  });
});
