/**
 * Concurrent clients of the shop, each with a connection of its own: orders, payments, cancellations, renumbered
 * products, page views, savepoints and rollbacks. Errors of the application's own making (deadlocks) are retried as an
 * application would; any other ends the demo.
 */
import type { PostgresConnection } from '../../postgres/connect.js';
import { PostgresError } from '../../postgres/sqlstate.js';
import { transaction } from '../../postgres/transaction.js';

export interface Workload {
  /** Transactions that were committed so far. */
  readonly committed: () => number;
  /** Ends after the transactions in hand. @throws what a client met */
  stop(): Promise<void>;
}

export function startWorkload(connections: readonly PostgresConnection[]): Workload {
  const stopping = new AbortController();
  let committed = 0;
  const clients = connections.map(async (connection, client) => {
    const random = randomNumbers(client + 1);
    while (!stopping.signal.aborted) {
      try {
        await oneTransaction(connection, random);
        committed += 1;
      } catch (error) {
        if (error instanceof RolledBack || (error instanceof PostgresError && error.retryable)) continue;
        throw error;
      }
    }
  });
  const all = Promise.all(clients);
  all.catch(() => stopping.abort());
  return {
    committed: () => committed,
    async stop() {
      stopping.abort();
      await all;
    },
  };
}

/** Thrown on purpose: a transaction that an application gives up. */
class RolledBack extends Error {}

type Random = (n: number) => number;

async function oneTransaction(connection: PostgresConnection, random: Random): Promise<void> {
  const dice = random(100);
  await transaction(connection, async () => {
    await connection.query(`select pg_catalog.set_config('shovel.metadata', $1, true)`, [
      JSON.stringify({ actor: `clerk ${random(8)}` }),
    ]);
    if (dice < 45) await placeOrder(connection, random);
    else if (dice < 65) await moveOrder(connection, random);
    else if (dice < 75) await cancelOrder(connection, random);
    else if (dice < 82) await editCustomer(connection, random);
    else if (dice < 84) await renumberProduct(connection, random);
    else await viewPages(connection, random);
    if (random(20) === 0) throw new RolledBack();
  });
}

async function placeOrder(connection: PostgresConnection, random: Random): Promise<void> {
  const rows = await connection.query('insert into public.orders (customer_id) values ($1) returning id', [
    String(1 + random(200)),
  ]);
  const id = rows[0]?.id ?? null;
  const lines = 1 + random(4);
  for (let line = 1; line <= lines; line += 1) {
    await connection.query(
      `with sold as (update public.products set stock = stock - $3 where id = $4 returning id, price),
            written as (insert into public.order_lines (order_id, line, product_id, quantity)
                        select $1::bigint, $2::smallint, id, $3::integer from sold returning quantity)
       update public.orders set total = total + coalesce((select s.price * w.quantity from sold s, written w), 0) where id = $1::bigint`,
      [id, String(line), String(1 + random(5)), String(1 + random(100))],
    );
  }
}

const ANY_ORDER = `(select id from public.orders where id >= $1::bigint order by id limit 1)`;

/** A number at or above which an order may stand. */
function guess(random: Random): string {
  return String(random(20_000));
}

async function moveOrder(connection: PostgresConnection, random: Random): Promise<void> {
  await connection.query(
    `update public.orders set status = case status when 'open' then 'paid' else 'shipped' end::public.order_status
     where id = ${ANY_ORDER}`,
    [guess(random)],
  );
}

async function cancelOrder(connection: PostgresConnection, random: Random): Promise<void> {
  await connection.query(`delete from public.orders where id = ${ANY_ORDER}`, [guess(random)]);
}

async function editCustomer(connection: PostgresConnection, random: Random): Promise<void> {
  const id = String(1 + random(200));
  await connection.script('savepoint attempt');
  await connection.query(`update public.customers set name = 'never seen' where id = $1`, [id]);
  await connection.script('rollback to attempt');
  await connection.query(
    `update public.customers set profile = jsonb_set(profile, '{visits}', $2::jsonb) where id = $1`,
    [id, String(random(1000))],
  );
}

/** Changes the key of a row; products without lines of their own do not mind. */
async function renumberProduct(connection: PostgresConnection, random: Random): Promise<void> {
  await connection.query('update public.products set id = id + 1000000 where id = $1', [
    String(1 + random(100)),
  ]);
  await connection.query(
    'update public.products p set id = id - 1000000 where id > 1000000 and not exists (select from public.products o where o.id = p.id - 1000000)',
  );
}

async function viewPages(connection: PostgresConnection, random: Random): Promise<void> {
  await connection.query(
    `insert into public.page_views (page, took_ms) select '/product/' || n, random() * 100 from generate_series(1, $1::integer) as n`,
    [String(1 + random(5))],
  );
  if (random(50) === 0) {
    await connection.query(`delete from public.page_views where took_ms < 10`);
  }
}

/** The same sequence every time: a demo should be like the last one. */
function randomNumbers(seed: number): Random {
  let state = Math.imul(seed, 2654435761) >>> 0;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}
