/**
 * Everything at once, at random: whatever happens to relays, administrators, servers and brokers while an application
 * writes and changes its tables, what was published makes the tables, each change once and in order.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import { runTorture } from '../support/torture.js';

/** SHOVEL_TORTURE_SEED: these alone, with commas; SHOVEL_TEST_ALL=1: more of them, and longer. The same every time. */
const ALL = process.env.SHOVEL_TEST_ALL === '1';
const CHOSEN = process.env.SHOVEL_TORTURE_SEED?.split(',').map(Number);
const ROUNDS = Number(process.env.SHOVEL_TORTURE_ROUNDS ?? (ALL ? 25 : 5));
const SEEDS = CHOSEN ?? Array.from({ length: ALL ? 10 : 2 }, (_, index) => 54 + index);

let prepared: EphemeralService;
let plain: EphemeralService;
let kafka: EphemeralService;

beforeAll(async () => {
  [prepared, plain, kafka] = await Promise.all([
    startEphemeral('pg'),
    startEphemeral('pg-no2pc'),
    startEphemeral('kafka'),
  ]);
});
afterAll(async () => {
  await Promise.all([prepared?.close(), plain?.close(), kafka?.close()]);
});

it.each(SEEDS)('with SHOVEL_TORTURE_SEED=%s', { timeout: 900_000 }, async (seed) => {
  const servers = { postgres: { main: prepared, eu: plain }, kafka };
  const { problems, said, published, tickets } = await runTorture({
    servers,
    seed,
    rounds: ROUNDS,
    suspend: ALL,
  });
  if (CHOSEN || problems.length > 0) process.stderr.write(`${said.join('\n')}\n`);
  expect(problems, `SHOVEL_TORTURE_SEED=${seed}`).toEqual([]);
  expect(tickets).toBeGreaterThan(2);
  expect(published).toBeGreaterThan(100);
});
