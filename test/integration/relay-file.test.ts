/** A relay from a real database to a file: all that commits arrives, once, in order, whatever ends the relay. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { onPublic } from '../support/captured-node.js';
import { Reader } from '../support/reader.js';
import { RelayedNode } from '../support/relayed-node.js';
import { testPgUrl } from '../support/services.js';

const SETUP = `
create table account (id bigint primary key, owner text, balance numeric(30,4), data jsonb, doc json, tags text[]);
create table narrow (id int primary key, secret text, note text);
create table whole (id int primary key, note text);
create table keyless (a int, b text);
`;
const TABLES = `
- { name: public.account }
- { name: public.narrow, columns: [id, note] }
- { name: public.whole, before: full }
- { name: public.keyless, key: none }
`;
const KEYS = {
  'public.account': ['id'],
  'public.narrow': ['id'],
  'public.whole': ['id'],
  'public.keyless': null,
};

describe('a relay to a file', () => {
  let relayed: RelayedNode;
  beforeAll(async () => {
    relayed = await RelayedNode.create({ server: testPgUrl(), setup: SETUP, tables: TABLES });
  });
  afterAll(() => relayed.close());

  const run = (script: string) => onPublic(relayed.node.connection, script);

  function read(lines: readonly string[]): Reader {
    const reader = new Reader({ keys: KEYS });
    for (const line of lines) reader.take(line);
    return reader;
  }

  async function expectEqual(reader: Reader): Promise<void> {
    for (const table of ['public.account', 'public.whole', 'public.keyless']) {
      expect(reader.rows(table)).toEqual(await relayed.tableRows(table));
    }
    const narrow = await relayed.tableRows('(select id, note from public.narrow)');
    expect(reader.rows('public.narrow')).toEqual(narrow);
  }

  it('publishes what has committed, and ends', async () => {
    await run(`
      insert into account values (1, 'ann', 12345678901234567.8901, '{"a": [1, 2.50]}', '{"b":\n 1}', '{x,"y z"}');
      insert into account values (9007199254740993, 'bob', null, null, null, null);
      update account set balance = 1 where id = 1;
      update account set id = 2 where id = 1;
      insert into narrow values (1, 'hidden', 'shown');
      update narrow set secret = 'other' where id = 1;
      insert into whole values (1, 'x'), (2, 'y');
      update whole set note = 'z' where id = 1;
      delete from whole where id = 2;
      insert into keyless values (1, 'a'), (1, 'a'), (2, 'b');
      delete from keyless where a = 2;
    `);
    const summary = await relayed.once();
    expect(summary).toMatchObject({ ended: 'published', error: undefined });
    const lines = await relayed.lines();
    expect(lines.join('\n')).not.toContain('hidden');
    const reader = read(lines);
    expect(reader.ticket).toBe(1n);
    await expectEqual(reader);
  });

  it('draws nothing where nothing has happened', async () => {
    const before = await relayed.lines();
    expect(await relayed.once()).toMatchObject({ ended: 'published' });
    expect(await relayed.lines()).toEqual(before);
  });

  it('goes on while it runs, and stops cleanly', async () => {
    const relay = relayed.start();
    for (let i = 0; i < 20; i += 1) {
      await run(`insert into account (id, owner) values (${100 + i}, 'o'); update whole set note = 'n${i}'`);
    }
    const reader = read(await relayed.published(relay));
    await expectEqual(reader);
    expect(await relay.stop()).toMatchObject({ ended: 'stopped', error: undefined });
  });
});
