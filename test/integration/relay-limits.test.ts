/**
 * Limits while a real relay runs: it warns, or suspends capture, and then publishes what is whole, and nothing after it.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { UnreachableError } from '../../src/errors.js';
import { createLogger } from '../../src/runtime/logger.js';
import type { Publisher } from '../../src/streams/publisher.js';
import { onPublic, SET } from '../support/captured-node.js';
import { QUICK, RelayedNode } from '../support/relayed-node.js';
import { testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

const TUNING = { ...QUICK, limitsEveryMs: 20 };
const toClose: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of toClose.splice(0).reverse()) await close();
});

async function setUp() {
  const relayed = await RelayedNode.create({
    server: testPgUrl(),
    setup: 'create table item (id serial primary key, note text)',
    tables: '- { name: public.item }',
  });
  toClose.push(() => relayed.close());
  const said: { level: string; message: string; error?: { code?: string } }[] = [];
  const logger = createLogger({
    level: 'info',
    format: 'json',
    destination: { write: (line) => said.push(JSON.parse(line)) },
  });
  const value = async (sql: string) => (await relayed.node.connection.arrays(sql))[0]?.[0] ?? null;
  const write = (note: string, rows = 1) =>
    onPublic(
      relayed.node.connection,
      `insert into item (note) select '${note}' || repeat(md5(n::text), 30) from generate_series(1, ${rows}) n`,
    );
  const limits = (policy: 'warn' | 'suspend', logBytes = 300_000) => ({
    limits: { logBytes, lagMs: 3_600_000, rowBytes: 1_000_000, policy },
  });
  return { relayed, said, logger, value, write, limits };
}

/** Fails to send as if its broker were away, until it is let. */
function gated(publisher: Publisher, gate: { open: boolean }): Publisher {
  return {
    display: publisher.display,
    limits: publisher.limits,
    start: () => publisher.start(),
    publish: (messages, position) => {
      if (gate.open) return publisher.publish(messages, position);
      throw new UnreachableError('broker_unreachable', 'The broker is away.', { hint: 'Wait.' });
    },
    stop: () => publisher.stop(),
  };
}

describe('a set over its limits', () => {
  it('is told of in the log and in the node, once, and goes on', async () => {
    const { relayed, said, logger, value, write, limits } = await setUp();
    const gate = { open: false };
    const relay = relayed.start({
      logger,
      tuning: TUNING,
      change: limits('warn'),
      createPublisher: async (stream) => gated(relayed.filePublisher(stream), gate),
    });
    await write('some', 500);
    await until('it is recorded', () => value('select over_limits from shovel.set_head'));
    await until('it was looked at often', async () => {
      const first = await value('select watched_at from shovel.set_head');
      await until(
        'another look',
        async () => (await value('select watched_at from shovel.set_head')) !== first,
      );
      return true;
    });
    const over = () => said.filter((line) => line.message.includes('over its limits'));
    expect(over()).toHaveLength(1);
    expect(over()[0]).toMatchObject({ level: 'error', over: ['log_bytes'] });
    expect(await value(`select last_value & 8 from shovel.switch_${SET}`)).toBe('0');
    gate.open = true;
    await until('it is within them again', async () => {
      await write('more');
      return said.some((line) => line.message.includes('within its limits again'));
    });
    expect(await value('select over_limits from shovel.set_head')).toBeNull();
    expect((await relay.stop()).error).toBeUndefined();
  });

  it('is suspended by policy: what is whole is published, then the relay ends with 25, and a later one too', async () => {
    const { relayed, said, logger, value, write, limits } = await setUp();
    const gate = { open: false };
    const torn = await relayed.node.session();
    await torn.script(`begin; insert into public.item (note) values ('torn')`);
    const relay = relayed.start({
      logger,
      tuning: TUNING,
      change: limits('suspend'),
      createPublisher: async (stream) => gated(relayed.filePublisher(stream), gate),
    });
    await write('whole', 500);
    await until(
      'capture is off',
      async () => (await value(`select last_value & 8 from shovel.switch_${SET}`)) === '8',
    );
    const seq = await value(`select last_value from shovel.seq_${SET}`);
    await write('unlogged', 500);
    await torn.script(`insert into public.item (note) values ('torn'); commit`);
    expect(await value(`select last_value from shovel.seq_${SET}`)).toBe(seq);
    // The stream is still in trouble, so the relay goes on trying.
    await until('it has said so', () => said.some((line) => line.message.includes('capture is suspended')));
    gate.open = true;
    await expect(relay.ended).rejects.toMatchObject({ exitCode: 25, code: 'capture_suspended' });
    const rows = (await relayed.lines()).filter((line) => line.includes('"op":"c"'));
    expect(rows.filter((line) => line.includes('"note":"whole'))).toHaveLength(500);
    expect(rows).toHaveLength(500);
    expect(said.find((line) => line.error?.code === 'capture_suspended')).toBeDefined();

    const lines = (await relayed.lines()).length;
    await expect(relayed.start({ tuning: TUNING, change: limits('suspend') }).ended).rejects.toMatchObject({
      exitCode: 25,
      message: expect.stringMatching(
        /^Capture of set example in database main was suspended at .+: its log has .+ MB|kB/,
      ),
      hint: expect.stringContaining('shovel node adopt example main'),
    });
    const once = await relayed.once({ tuning: TUNING, change: limits('suspend') });
    expect(once.error).toMatchObject({ exitCode: 25, code: 'capture_suspended' });
    expect(await relayed.lines()).toHaveLength(lines);
  });

  it('is suspended by a relay from cron, which publishes what is whole', async () => {
    const { relayed, write, limits, value } = await setUp();
    await write('whole', 500);
    await value(`update shovel.set_head set over_since = now() - interval '1 hour' returning 1`);
    const { error } = await relayed.once({ change: limits('suspend') });
    expect(error).toMatchObject({ exitCode: 25, code: 'capture_suspended' });
    expect((await relayed.lines()).filter((line) => line.includes('"note":"whole'))).toHaveLength(500);
    expect(await value(`select last_value & 8 from shovel.switch_${SET}`)).toBe('8');
  });
});

describe('the view of what is pending', () => {
  it('says 0 after a long transaction that rolled back', async () => {
    const { relayed, value, write } = await setUp();
    const relay = relayed.start({ tuning: TUNING });
    await write('one');
    await relayed.published(relay);
    await onPublic(
      relayed.node.connection,
      `begin; insert into item (note) select '' from generate_series(1, 21000) n; rollback`,
    );
    await until(
      'nothing is pending',
      async () => (await value('select pending_mutations from shovel.mutation_log')) === '0',
    );
    await relay.stop();
  });
});
