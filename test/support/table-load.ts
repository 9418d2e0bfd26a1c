/**
 * A hundred tables, one of them a tree of two hundred partitions, and an application that writes to all of them: several
 * sessions whose transactions take tables in opposite orders, one that locks tables, one that vacuums and analyzes.
 * Rows are each session's own, so nobody waits for a row; whoever waits waits for a table.
 */
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { PostgresError } from '../../src/postgres/sqlstate.js';

export const TABLES = 100;
export const PARTITIONS = 200;
/** Rows per table and partition, and so the most sessions that can write. */
const ROWS = 10;

/** Nobody locks it but a test: whoever keeps it open for long holds up shovel alone. */
export const QUIET_TABLE = 't_99';

/** For `search_path` public. */
export const LOAD_TABLES = `do $$ begin
  for i in 1..${TABLES - 1} loop
    execute format('create table t_%s (id int primary key, n int not null default 0)', i);
    execute format('insert into t_%s select generate_series(0, ${ROWS - 1})', i);
  end loop;
  create table tree (id int primary key, n int not null default 0) partition by range (id);
  for i in 0..${PARTITIONS - 1} loop
    execute format('create table tree_%s partition of tree for values from (%s) to (%s)', i, i * ${ROWS}, (i + 1) * ${ROWS});
  end loop;
  insert into tree select generate_series(0, ${PARTITIONS * ROWS - 1});
end $$`;

export interface Written {
  readonly writer: number;
  /** Of the whole transaction, commit included. */
  readonly ms: number;
}

export interface TableLoad {
  /** SQLSTATEs, or what else went wrong. */
  readonly failures: readonly string[];
  readonly transactions: number;
  stop(): Promise<void>;
}

export interface TableLoadOptions {
  readonly url: string;
  /** Default 6, at most 10. */
  readonly writers?: number;
  /** Sessions that lock, vacuum and analyze tables too. Default true. */
  readonly others?: boolean;
  readonly written?: (one: Written) => void;
}

export async function startTableLoad(options: TableLoadOptions): Promise<TableLoad> {
  const { url, writers = 6, others = true, written } = options;
  const sessions: PostgresConnection[] = [];
  const connect = async () => {
    const session = await openConnection({
      dsn: url,
      name: 'of the application',
      applicationName: 'application',
      settings: { search_path: 'public', lock_timeout: '0' },
    });
    sessions.push(session);
    return session;
  };
  const failures: string[] = [];
  let transactions = 0;
  let going = true;
  const forever = async (
    session: PostgresConnection,
    next: (i: number) => string,
    done?: (ms: number) => void,
  ) => {
    for (let i = 0; going; i += 1) {
      const begun = performance.now();
      try {
        await session.script(next(i));
        transactions += 1;
        done?.(performance.now() - begun);
      } catch (error) {
        failures.push(error instanceof PostgresError ? `${error.sqlstate} ${error.message}` : String(error));
        await session.script('rollback').catch(() => undefined);
      }
    }
  };
  const running: Promise<void>[] = [];
  for (let writer = 0; writer < writers; writer += 1) {
    running.push(
      forever(
        await connect(),
        (i) => transactionOf(writer, i),
        (ms) => written?.({ writer, ms }),
      ),
    );
  }
  if (others) {
    running.push(forever(await connect(), lockOf), forever(await connect(), maintenanceOf));
  }
  return {
    failures,
    get transactions() {
      return transactions;
    },
    async stop() {
      going = false;
      await Promise.all(running);
      await Promise.all(sessions.map((session) => session.end()));
    },
  };
}

/**
 * Four tables and the tree, through its root and then straight to a partition; odd writers go the other way round, tree
 * first. (Whoever writes straight to a partition and then through the root stands in nobody's way but our own.)
 */
function transactionOf(writer: number, i: number): string {
  const step = i * 7 + writer * 31;
  const tables = [0, 13, 29, 57].map((distance) => 1 + ((step + distance) % (TABLES - 1)));
  const [through, straight] = [(step * 3) % PARTITIONS, (step * 3 + 1) % PARTITIONS];
  const parts = [
    ...tables
      .toSorted((a, b) => a - b)
      .map((table) => `update t_${table} set n = n + 1 where id = ${writer}`),
    `update tree set n = n + 1 where id = ${through * ROWS + writer};
     update tree_${straight} set n = n + 1 where id = ${straight * ROWS + writer}`,
  ];
  return `begin; ${(writer % 2 === 0 ? parts : parts.toReversed()).join('; ')}; commit`;
}

const MODES = ['access exclusive', 'share', 'share row exclusive'];

function lockOf(i: number): string {
  const table = i % 5 === 0 ? `only tree_${(i * 11) % PARTITIONS}` : `t_${1 + ((i * 17) % (TABLES - 2))}`;
  return `begin; lock table ${table} in ${MODES[i % MODES.length]} mode; commit`;
}

function maintenanceOf(i: number): string {
  const table = i % 3 === 0 ? `tree_${(i * 5) % PARTITIONS}` : `t_${1 + ((i * 19) % (TABLES - 1))}`;
  return `${i % 2 === 0 ? 'analyze' : 'vacuum'} ${table}`;
}
