/**
 * `shovel demo`: a real PostgreSQL, a shop under load, a set created meanwhile, a relay that publishes to a file, and
 * at the end the proof: what was published is replayed over a copy and compared with the tables, row by row. Leaves
 * nothing behind unless told to keep.
 */
import { createReadStream } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createSet } from '../../admin/create-set.js';
import { initCluster } from '../../admin/init-cluster.js';
import { parseCoordinatorAddress } from '../../coordinator/coordinator-url.js';
import { CheckFoundError } from '../../errors.js';
import { parseSetFile, setFileError } from '../../model/set-file.js';
import { openConnection, type PostgresConnection } from '../../postgres/connect.js';
import { findPostgresBinaries } from '../../postgres/embedded/binaries.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../postgres/embedded/embedded-postgres.js';
import { transaction } from '../../postgres/transaction.js';
import { systemClock } from '../../runtime/clock.js';
import type { Logger } from '../../runtime/logger.js';
import { withAdmin } from '../open-admin.js';
import { runRelays } from '../run-relays.js';
import type { AppSettings } from '../settings.js';
import { type Comparison, Replay, readTables, Snapshot } from './replay.js';
import { SHOP_SCHEMA, shopSetFile } from './shop.js';
import { startWorkload } from './workload.js';

export interface DemoOptions {
  /** How long the shop is open while the relay publishes. */
  readonly openMs: number;
  /** Leave server and files; the caller is told how to connect, and the demo waits for the signal. */
  readonly keep: boolean;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  readonly screen: DemoScreen;
}

/** What the demo shows, in the words of the command line. */
export interface DemoScreen {
  /** A step that begins. */
  step(text: string): void;
  /** Something to read: a file, a table. */
  show(text: string): void;
  /** The line that changes while the relay runs. */
  live(state: LiveState): void;
  kept(connection: { readonly url: string; readonly trail: string; readonly setFile: string }): void;
}

export interface LiveState {
  readonly elapsedMs: number;
  readonly committed: number;
  readonly published: number;
  readonly perSecond: number;
  /** Age of the oldest mutation that is not out yet; 0 where none waits. */
  readonly lagMs: number;
}

export interface DemoResult {
  readonly equal: boolean;
  readonly transactions: number;
  readonly batches: number;
  readonly mutations: number;
  readonly tables: readonly Comparison[];
}

const CLIENTS = 4;
const DRAW_EVERY_MS = 250;

export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const directory = await mkdtemp(join(tmpdir(), 'shovel-demo-'));
  // PostgreSQL runs as another user where we are root: it may pass through, and see nothing else.
  await chmod(directory, 0o711);
  let server: EmbeddedPostgres | undefined;
  try {
    options.screen.step('Starting PostgreSQL 18');
    server = await startEmbeddedPostgres({
      binaries: findPostgresBinaries({ major: 18 }),
      directory: join(directory, 'postgres'),
      settings: { max_prepared_transactions: '16', max_connections: '60' },
      signal: options.signal,
    });
    return await openShop(server.url, { directory, options });
  } finally {
    await server?.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

async function openShop(
  url: string,
  { directory, options }: { directory: string; options: DemoOptions },
): Promise<DemoResult> {
  const { screen, signal } = options;
  const connections: PostgresConnection[] = [];
  const connect = async (target: string, applicationName: string) => {
    const connection = await openConnection({ dsn: target, name: 'the demo', applicationName });
    connections.push(connection);
    return connection;
  };
  try {
    const dsn = url.replace(/\/postgres$/, '/shop');
    const admin = await connect(url, 'shovel demo');
    await admin.script('create database shop');
    await admin.script('create database coordinator');
    const shop = await connect(dsn, 'shovel demo');
    await shop.script(SHOP_SCHEMA);

    screen.step(`Opening the shop: ${CLIENTS} clients order, pay, cancel and roll back`);
    const clients = await Promise.all(Array.from({ length: CLIENTS }, () => connect(dsn, 'shop')));
    const workload = startWorkload(clients);

    await mkdir(join(directory, 'published'), { mode: 0o700 });
    const trail = join(directory, 'published', 'trail.jsonl');
    const setFile = join(directory, 'shop.yaml');
    const text = shopSetFile(trail);
    await writeFile(setFile, text);
    screen.step('Creating a set while they do, from this file');
    screen.show(text);
    const settings: AppSettings = {
      cluster: 'default',
      coordinator: parseCoordinatorAddress({ coordinator: url.replace(/\/postgres$/, '/coordinator') }),
      lockTimeoutMs: 40,
      variables: { SHOP_DSN: dsn },
      logger: options.logger,
      signal,
    };
    await createShopSet(settings, { text, file: setFile });
    const { replay } = await copyTables(shop);

    screen.step('Publishing to a file');
    const relay = new AbortController();
    const stopped = AbortSignal.any([relay.signal, signal]);
    const relaying = runRelays({ ...settings, signal: stopped }, { sets: ['shop'], once: false });
    relaying.catch(() => relay.abort());
    await watch(shop, { openMs: options.openMs, committed: workload.committed, screen, signal: stopped });
    await workload.stop();
    relay.abort();
    await relaying;
    signal.throwIfAborted();

    screen.step('Closing the shop, publishing the rest');
    await runRelays(settings, { sets: ['shop'], once: true });

    screen.step('Replaying what was published over a copy, and comparing');
    for await (const line of createInterface({ input: createReadStream(trail) })) replay.apply(line);
    replay.end();
    const tables = await transaction(shop, async () => {
      await shop.script('set transaction isolation level repeatable read, read only');
      return replay.compare(shop);
    });
    const equal = tables.every((table) => table.missing + table.extra + table.different === 0);
    if (options.keep) {
      screen.kept({ url: dsn, trail, setFile });
      await untilAborted(signal);
    }
    const result = {
      equal,
      transactions: workload.committed(),
      batches: replay.batches,
      mutations: replay.mutations,
      tables,
    };
    if (!equal) {
      throw new CheckFoundError('demo_unequal', 'What was published does not rebuild the tables.', {
        hint: 'This is a bug; run again with --keep and report it with the file of the stream.',
        details: result,
      });
    }
    return result;
  } finally {
    await Promise.all(connections.map((connection) => connection.end()));
  }
}

async function createShopSet(settings: AppSettings, source: { text: string; file: string }): Promise<void> {
  const parsed = parseSetFile(source.text, { file: source.file });
  if (parsed.issues) throw setFileError(parsed.issues);
  const { configuration } = parsed;
  await withAdmin({ ...settings, say: () => undefined }, async (context) => {
    await initCluster(context);
    await createSet(context, { configuration, wait: true, dryRun: false });
  });
}

/** The tables as they stand in one snapshot, from which the replay begins. */
async function copyTables(shop: PostgresConnection): Promise<{ replay: Replay }> {
  return transaction(shop, async () => {
    await shop.script('set transaction isolation level repeatable read, read only');
    const rows = await shop.query('select pg_catalog.pg_current_snapshot()::text as snapshot');
    const tables = await readTables(shop);
    return { replay: new Replay(tables, new Snapshot(rows[0]?.snapshot ?? '')) };
  });
}

async function watch(
  shop: PostgresConnection,
  about: { openMs: number; committed: () => number; screen: DemoScreen; signal: AbortSignal },
): Promise<void> {
  const begun = performance.now();
  let last = { at: begun, published: 0 };
  for (;;) {
    const now = performance.now();
    if (now - begun >= about.openMs || about.signal.aborted) return;
    const { published, lagMs } = await progress(shop);
    const seconds = Math.max(now - last.at, 1) / 1000;
    about.screen.live({
      elapsedMs: now - begun,
      committed: about.committed(),
      published,
      perSecond: (published - last.published) / seconds,
      lagMs,
    });
    last = { at: now, published };
    await systemClock.sleep(DRAW_EVERY_MS, about.signal);
  }
}

/** From the tickets and the stream's position in the node itself. */
async function progress(shop: PostgresConnection): Promise<{ published: number; lagMs: number }> {
  const [row] = await shop.query(
    `with done as (
       select (pg_catalog.pg_sequence_last_value(('shovel.' || s.position_name)::regclass) - 1) / 2 as ticket
       from shovel.stream s where s.set_name = 'shop')
     select coalesce(sum(t.mutations) filter (where t.ticket <= d.ticket), 0) as published,
       coalesce(extract(epoch from clock_timestamp() - min(t.drawn_at) filter (where t.ticket > d.ticket)) * 1000, 0)::bigint as lag_ms
     from done d left join shovel.ticket_shop t on true`,
  );
  return { published: Number(row?.published ?? 0), lagMs: Math.max(0, Number(row?.lag_ms ?? 0)) };
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
