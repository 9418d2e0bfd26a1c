/**
 * What a running relay says of capture that is not as its version made it: that a trigger is off, a function another, a
 * table or a partition there that is not captured. Each with what mends it, and none while a version is on its way.
 */
import { afterEach, expect, it } from 'vitest';
import { createLogger } from '../../src/runtime/logger.js';
import { onPublic } from '../support/captured-node.js';
import type { StartOptions } from '../support/relayed-node.js';
import { QUICK, RelayedNode } from '../support/relayed-node.js';
import { testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

const TABLES = '- { name: public.item }\n- { name: public.part }\n- { name: shop.* }';

let relayed: RelayedNode;
afterEach(() => relayed.close());

async function setUp() {
  relayed = await RelayedNode.create({
    server: testPgUrl(),
    setup: `create table item (id int primary key, name text);
      create table part (id int primary key) partition by range (id);
      create table part_1 partition of part for values from (0) to (100);
      create schema shop; create table shop.one (id int primary key)`,
    tables: TABLES,
  });
  const said: { level: string; message: string; code?: string; object?: string; fix?: string }[] = [];
  const logger = createLogger({
    level: 'info',
    format: 'json',
    destination: { write: (line) => said.push(JSON.parse(line)) },
  });
  let looks = 0;
  const options: StartOptions = {
    logger,
    tuning: { ...QUICK, captureEveryMs: 20 },
    openNode: () => {
      looks += 1;
      return relayed.connect();
    },
  };
  /** Until capture was looked at from beginning to end at least twice after the call. */
  const lookedAt = async () => {
    const before = looks;
    await until('capture was looked at', () => looks >= before + 3);
  };
  const found = () =>
    said
      .flatMap(({ level, code, object }) => (object === undefined ? [] : [`${level} ${code} ${object}`]))
      .sort();
  const harm = (script: string) => onPublic(relayed.node.connection, script);
  return { said, options, lookedAt, found, harm };
}

it('is told of once, with what mends it, and told when it is mended', async () => {
  const { said, options, lookedAt, found, harm } = await setUp();
  const relay = relayed.start(options);
  await lookedAt();
  expect(found()).toEqual([]);
  await harm(`alter table item disable trigger all; create table part_2 partition of part for values from (100) to (200);
    create table shop.two (id int primary key)`);
  await until('it is told of', () => found().length >= 6);
  await lookedAt();
  const disabled = ['error trigger_disabled public.item'];
  expect(found()).toEqual([
    'error partition_without_truncate_trigger public.part_2',
    ...Array(4).fill(disabled[0]),
    'warn table_not_captured shop.two',
  ]);
  expect(said.find(({ code }) => code === 'partition_without_truncate_trigger')).toMatchObject({
    message: expect.stringContaining('truncates are not captured when it is truncated alone'),
    fix: expect.stringContaining('shovel set upgrade example'),
  });
  const fixes = said
    .filter(({ code }) => code === 'trigger_disabled')
    .map(({ fix }) => fix?.split(';')[0] ?? '');
  await harm(`${fixes.join(';')}; drop table part_2; drop table shop.two`);
  await until('it is well again', () =>
    said.some((line) => line.message === 'capture is as it should be again'),
  );
  await lookedAt();
  expect(found()).toHaveLength(6);
  expect((await relay.stop()).error).toBeUndefined();
});

it('is told of by a relay that runs once', async () => {
  const { options, found, harm } = await setUp();
  await harm('alter table item disable trigger all');
  expect((await relayed.once(options)).error).toBeUndefined();
  expect(found()).toEqual(Array(4).fill('error trigger_disabled public.item'));
});

it('is not judged by a version that the node has no more', async () => {
  const { options, found, lookedAt } = await setUp();
  const relay = relayed.start(options);
  await lookedAt();
  const { connection } = relayed.node;
  const { tables, configuration } = await relayed.node.describe({ tables: TABLES });
  await connection.query('update shovel.replication_set set set_version = 2');
  await relayed.node.activate(tables, configuration);
  await lookedAt();
  expect(found()).toEqual([]);
  await relay.stop();
});
