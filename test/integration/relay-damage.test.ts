/**
 * A node whose log, or what belongs to it, was changed by hand: whatever is missing, nothing is published as if nothing
 * were, and what is said names the set, the database and the thing. How it is mended is in relay-damage-mended.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigurationError, type ShovelError } from '../../src/errors.js';
import { memberText } from '../../src/model/json-text.js';
import { onPublic, SET } from '../support/captured-node.js';
import { faultyPublisher } from '../support/faulty-publisher.js';
import { Reader } from '../support/reader.js';
import { QUICK, RelayedNode, type StartOptions } from '../support/relayed-node.js';
import { testPgUrl } from '../support/services.js';

/** Nothing is trimmed but by hand. */
const KEEP = { ...QUICK, trim: { rotateBytes: 1e9, rotateAgeMs: 1e9, idleBytes: 1e9, pinnedMs: 1e9 } };
const SMALL = { messages: 4, bytes: 1_000_000 };
const WITHOUT_AND_WITH = 'shovel set upgrade without the streams, then with them';

describe('a log that was changed by hand', () => {
  let relayed: RelayedNode;
  let next: number;
  beforeEach(async () => {
    relayed = await RelayedNode.create({
      server: testPgUrl(),
      setup: 'create table item (id int primary key, v int)',
      tables: '- { name: public.item }',
    });
    next = 0;
  });
  afterEach(() => relayed.close());

  const damage = (script: string) => relayed.node.connection.script(script);
  const insert = (rows: number) => {
    next += rows;
    return onPublic(
      relayed.node.connection,
      `insert into item select n, 0 from generate_series(${next - rows + 1}, ${next}) n`,
    );
  };
  const once = (options: Omit<StartOptions, 'once'> = {}) => relayed.once({ tuning: KEEP, ...options });
  /** Draws a ticket of `rows` rows; with `parts`, so many parts of it are published, else nothing is. */
  async function drawn(rows: number, { parts = 0 }: { readonly parts?: number } = {}): Promise<void> {
    await insert(rows);
    const error = new ConfigurationError('login_refused', 'The broker refuses the login.', { hint: 'Wait.' });
    const { error: met } = await once({
      createPublisher: async (stream) =>
        faultyPublisher(relayed.filePublisher(stream, SMALL), {
          calls: { count: 0 },
          fault: (call) => (call > parts ? 'before' : undefined),
          error,
        }),
    });
    expect(met).toBe(error);
  }
  async function published(rows: number): Promise<void> {
    await insert(rows);
    expect((await once()).error).toBeUndefined();
  }
  /** Tickets whose end marker is out. */
  const whole = async () =>
    (await relayed.lines())
      .filter((line) => line.startsWith('{"op":"e"'))
      .map((line) => JSON.parse(memberText(memberText(line, 'source') ?? '', 'ticket') ?? ''));
  async function expectEqual(): Promise<void> {
    const reader = new Reader({ keys: { 'public.item': ['id'] } });
    for (const line of await relayed.lines()) reader.take(line);
    expect(reader.rows('public.item')).toEqual(await relayed.tableRows('public.item'));
  }

  /** The same error however often it is started, and nothing of ticket 2 ever out as a whole. */
  async function expectStuck(error: object, options: Omit<StartOptions, 'once'> = {}): Promise<void> {
    for (let time = 0; time < 2; time += 1) {
      const summary = await once(options);
      expect(summary.error).toMatchObject(error);
      expect(summary.error?.message).toContain(`${SET}, database main`);
      expect(await whole()).toEqual(['1']);
    }
  }

  describe.each(['plain', 'whole transactions', 'small parts'])('rows of a batch, %s', (kind) => {
    const options = (): Omit<StartOptions, 'once'> => ({
      ...(kind === 'whole transactions'
        ? { streams: { trail: { ...relayed.fileStream('trail'), transactions: true } } }
        : {}),
      ...(kind === 'small parts'
        ? { createPublisher: async (stream) => relayed.filePublisher(stream, SMALL) }
        : {}),
    });
    const incomplete = (found: number) => ({
      code: 'batch_incomplete',
      exitCode: 25,
      retryable: false,
      message: `Set ${SET}, database main: ticket 2 was drawn over 9 log rows, and ${found} are there.`,
      hint: expect.stringContaining(WITHOUT_AND_WITH),
      details: { set: SET, ticket: '2' },
    });
    beforeEach(async () => {
      await published(3);
      await drawn(9);
    });

    it.each([
      ['the first', '= 4', 8],
      ['one in the middle', '= 9', 8],
      ['the last', '= 12', 8],
      ['all', '> 3', 0],
    ])('are missing: %s', async (_, which, found) => {
      await damage(`delete from shovel.log_0_${SET} where seq ${which}`);
      await expectStuck(incomplete(found), options());
    });

    it('are not to be found, for the ticket has lost its bounds', async () => {
      await damage(`update shovel.ticket_0_${SET} set first_seq = null where ticket = 2`);
      await expectStuck(incomplete(0), options());
    });

    it('are back', async () => {
      await damage(`create table shovel.aside as select * from shovel.log_0_${SET} where seq = 9;
        delete from shovel.log_0_${SET} where seq = 9`);
      await expectStuck(incomplete(8), options());
      await damage(`insert into shovel.log_0_${SET} select * from shovel.aside; drop table shovel.aside`);
      expect((await once(options())).error).toBeUndefined();
      expect(await whole()).toEqual(['1', '2']);
      await expectEqual();
    });
  });

  it('lacks rows of a batch that is out in part', async () => {
    await published(3);
    await drawn(12, { parts: 2 });
    await damage(`delete from shovel.log_0_${SET} where seq = 5`);
    await expectStuck({ code: 'batch_incomplete', message: expect.stringContaining('ticket 2') });
  });

  it('lacks a ticket that is due', async () => {
    await published(3);
    await drawn(3);
    await drawn(3);
    await damage(`delete from shovel.ticket_0_${SET} where ticket = 2`);
    await expectStuck({
      code: 'batch_missing',
      exitCode: 25,
      message: `Set ${SET}, database main: the batch of ticket 2 is due and not kept.`,
      hint: expect.stringContaining(WITHOUT_AND_WITH),
      details: { set: SET, ticket: '2' },
    });
  });

  it.each([
    ['is gone', `delete from shovel.captured_table where rel = (select min(rel) from shovel.log_${SET})`],
    ['can not be read', `update shovel.captured_table set definition = '{}'`],
  ])('holds rows of a table whose description %s', async (_, script) => {
    await published(3);
    await drawn(3);
    const rel = (await relayed.node.log())[0]?.rel;
    await damage(`create table shovel.aside as select * from shovel.captured_table; ${script}`);
    await expectStuck({
      code: 'captured_table_missing',
      exitCode: 25,
      message: `Set ${SET}, database main: the log holds mutations of table number ${rel}, which the node does not describe.`,
      hint: expect.stringContaining(`rel = ${rel} in shovel.captured_table`),
    });
    await damage(`delete from shovel.captured_table;
      insert into shovel.captured_table overriding system value select * from shovel.aside; drop table shovel.aside`);
    expect((await once()).error).toBeUndefined();
    await expectEqual();
  });

  it('does not know the stream any more', async () => {
    await published(3);
    await drawn(3);
    await damage('delete from shovel.stream');
    await expectStuck({
      code: 'stream_unknown',
      exitCode: 25,
      message: `Set ${SET}, database main: the node does not know stream trail.`,
      hint: expect.stringContaining(`shovel node adopt ${SET} DATABASE`),
    });
  });

  it.each([
    ['has no tickets', 'tickets_missing', `delete from shovel.ticket_0_${SET}`],
    [
      'has a newest ticket without a snapshot',
      'tickets_damaged',
      `alter table shovel.ticket_0_${SET} alter snapshot drop not null;
       update shovel.ticket_0_${SET} set snapshot = null where ticket = 1`,
    ],
  ])('%s', async (_, code, script) => {
    await published(3);
    await damage(script);
    await insert(3);
    for (const start of [() => once(), () => relayed.start({ tuning: KEEP }).ended]) {
      const error = await start().then(
        () => undefined,
        (met: ShovelError) => met,
      );
      expect(error).toMatchObject({
        code,
        exitCode: 25,
        message: expect.stringContaining(`Set ${SET}, database main:`),
        hint: expect.stringContaining(`shovel node adopt ${SET} DATABASE`),
      });
      expect(await whole()).toEqual(['1']);
    }
  });

  it('keeps less than was asked for, and says from where on', async () => {
    for (let batch = 1; batch <= 4; batch += 1) await published(2);
    // As trimming leaves it: the ticket before the oldest batch stays.
    await damage(
      `delete from shovel.ticket_0_${SET} where ticket < 2; delete from shovel.log_0_${SET} where seq <= 4`,
    );
    const summary = await once({ fromTicket: 2n });
    expect(summary.error).toMatchObject({
      code: 'ticket_not_kept',
      exitCode: 21,
      message: `Set ${SET}, database main no longer keeps the batch of ticket 2.`,
      hint: expect.stringContaining('name ticket 3 or a newer one'),
      details: { set: SET, ticket: '2', oldest: '3' },
    });
    expect(await whole()).toEqual(['1', '2', '3', '4']);
    expect((await once({ fromTicket: 3n })).error).toBeUndefined();
    expect(await whole()).toEqual(['1', '2', '3', '4', '3', '4']);
  });
});

describe('a filter', () => {
  let relayed: RelayedNode;
  afterEach(() => relayed.close());

  it.each([
    [
      'a label of its type was renamed',
      `alter type mood rename value 'ok' to 'fine'`,
      `alter type mood rename value 'fine' to 'ok'`,
    ],
    ['its type was renamed', 'alter type mood rename to temper', 'alter type temper rename to mood'],
  ])('that fails on captured rows stops its stream, since %s', async (_, script, back) => {
    relayed = await RelayedNode.create({
      server: testPgUrl(),
      setup: `create type mood as enum ('ok', 'bad'); create table item (id int primary key, m mood)`,
      tables: `- { name: public.item, where: "m = 'ok'" }`,
    });
    const run = (text: string) => onPublic(relayed.node.connection, text);
    await run(`insert into item values (1, 'ok'), (2, 'bad')`);
    await run(script);
    const summary = await relayed.once();
    expect(summary.error).toMatchObject({
      code: 'where_failed',
      exitCode: 25,
      retryable: false,
      message: expect.stringMatching(
        new RegExp(`^Table public\\.item of set ${SET}, database main: its filter can't be evaluated`),
      ),
      hint: expect.stringContaining('the type of m'),
    });
    expect(`${summary.error?.message} ${summary.error?.hint}`).not.toMatch(/\bok\b/);
    expect((await relayed.lines()).filter((line) => line.startsWith('{"op":"e"'))).toEqual([]);
    await run(back);
    expect((await relayed.once()).error).toBeUndefined();
    const ids = (await relayed.lines()).flatMap((line) => /"after":\{"id":(\d+)/.exec(line)?.[1] ?? []);
    expect(ids).toEqual(['1']);
  });
});
