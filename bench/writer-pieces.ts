/**
 * What each piece of a row's capture costs the writer: trigger functions that do a little more each, on a table of their
 * own, up to the one that shovel makes, and PgQ's and Slony's C triggers beside them. All run as a role that the writer is
 * not. Instructions of the backend above the bare table, counted by valgrind, so that the figures hold still on any machine:
 * of an update of one row in a transaction of its own, and of a row of an update of many. Writes
 * bench/results/writer-pieces.json.
 *
 *   npm run bench -- writer-pieces [--transactions 500]
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import type { PostgresConnection } from '../src/postgres/connect.js';
import {
  APPLICATION,
  letApplicationWrite,
  PROGRAMS,
  runProgram,
  startBenchServer,
} from './support/bench-server.js';
import { installPgq, installSlony } from './support/capture-variants.js';
import { countInstructions, requireValgrind } from './support/count-instructions.js';
import { installSet } from './support/install-set.js';

const { values: flags } = parseArgs({ options: { transactions: { type: 'string', default: '500' } } });
const TRANSACTIONS = Number(flags.transactions);
/** Rows of a table, and so of an update of all. */
const ROWS = 100;

const IMAGE = 'pg_catalog.row_to_json(NEW)::pg_catalog.text';
const SAME_KEY = 'OLD.id operator(pg_catalog.=) NEW.id';
const SIZE = 'pg_catalog.octet_length(n_) operator(pg_catalog.<=) 67108864';
const NO_CONTEXT = "nullif(pg_catalog.current_setting('shovel.metadata', true), '') is null";

interface Piece {
  readonly name: string;
  /** Columns of the log beside `op`, with their defaults. */
  readonly log?: readonly string[];
  readonly index?: boolean;
  readonly versions?: boolean;
  readonly image?: 'in the insert' | 'in a variable' | 'in a block';
  readonly conditions?: readonly string[];
  readonly chosen?: boolean;
}

const SEQ = "seq bigint not null default pg_catalog.nextval('@log@_seq')";
const XID = 'xid xid8 not null default pg_catalog.pg_current_xact_id()';
const AT = 'at timestamptz not null default pg_catalog.statement_timestamp()';
const ALL = [SEQ, XID, AT];
const GUARDED = { log: ALL, versions: true, index: true, image: 'in a block' } as const;

/** Each has all that the one before has. */
const PIECES: readonly Piece[] = [
  { name: 'a trigger that does nothing' },
  { name: 'an insert of a constant', log: [] },
  { name: 'the number', log: [SEQ] },
  { name: 'transaction and time', log: ALL },
  { name: 'the row as JSON', log: ALL, image: 'in the insert' },
  { name: 'both versions, for order', log: ALL, image: 'in the insert', versions: true },
  { name: 'an index on the number', log: ALL, image: 'in the insert', versions: true, index: true },
  { name: 'the image made beforehand', ...GUARDED, image: 'in a variable' },
  { name: 'a block, so that no write fails', ...GUARDED },
  { name: 'the key compared', ...GUARDED, conditions: [SAME_KEY] },
  { name: 'size, context and segment', ...GUARDED, conditions: [SAME_KEY], chosen: true },
];

const BARE = 'bare';
const SHOVEL = 'all of it, as shovel makes it';
const PGQ = 'PgQ, in C';
const SLONY = 'Slony, in C';

function functionBody(piece: Piece, log: string): string {
  if (piece.log === undefined) return 'declare z_ pg_catalog.record; begin return z_; end';
  const [columns, values] = piece.versions
    ? [', old_ctid, old_xmin, new_ctid', ', OLD.ctid, OLD.xmin, NEW.ctid']
    : ['', ''];
  const shown = piece.image === undefined ? "'{}'" : piece.image === 'in the insert' ? IMAGE : 'n_';
  const insert = `insert into ${log} (rel, op, image${columns}) values (1, 'U'::pg_catalog."char", ${shown}${values});`;
  const conditions = piece.conditions ?? [];
  const made = conditions.length === 0 ? IMAGE : `case when ${conditions.join(' and ')} then ${IMAGE} end`;
  const assign =
    piece.image === 'in a variable'
      ? `n_ := ${made};`
      : piece.image === 'in a block'
        ? `begin n_ := ${made}; exception when others then null; end;`
        : '';
  const stored = piece.chosen
    ? `w_ := case when ${SIZE} and ${NO_CONTEXT} then pg_catalog.pg_sequence_last_value('${log}_switch'::pg_catalog.regclass) end;
       if w_ operator(pg_catalog.=) 0 then ${insert} end if;`
    : insert;
  return `declare n_ pg_catalog.text; w_ pg_catalog.int8; z_ pg_catalog.record; begin ${assign} ${stored} return z_; end`;
}

async function makeTable(connection: PostgresConnection, table: string): Promise<void> {
  await connection.script(`create table public.${table} (id int primary key, n int, a text, b numeric) with (fillfactor = 50);
    insert into public.${table} select g, 0, 'name ' || g, g * 1.5 from generate_series(1, ${ROWS}) g;
    create procedure public.run_${table}(count int) language plpgsql as $$
    begin
      for i in 1..count loop
        update public.${table} set n = n + 1 where id = 1 + i % ${ROWS};
        commit;
      end loop;
    end $$`);
}

async function makePiece(connection: PostgresConnection, table: string, piece: Piece): Promise<void> {
  const log = `public.log_${table}`;
  await connection.script(`create sequence ${log}_seq; create sequence ${log}_switch minvalue 0 start 0;
    select setval('${log}_switch', 0)`);
  const columns = [
    ...(piece.log ?? []).map((column) => column.replace('@log@', log)),
    'old_xmin xid, rel integer not null, old_ctid tid, new_ctid tid, op "char" not null, image text',
  ];
  await connection.script(`create table ${log} (${columns.join(', ')});
    ${piece.index ? `create index on ${log} (seq);` : ''}
    create function public.capture_${table}() returns trigger language plpgsql security definer as $shovel$
      ${functionBody(piece, log)} $shovel$;
    create trigger "!capture" after update on public.${table} for each row execute function public.capture_${table}()`);
}

async function makeTables(connection: PostgresConnection): Promise<ReadonlyMap<string, string>> {
  const names = [BARE, ...PIECES.map((piece) => piece.name), SHOVEL, PGQ, SLONY];
  const tables = new Map(names.map((name, i) => [name, `t${i}`]));
  for (const [name, table] of tables) {
    await makeTable(connection, table);
    const piece = PIECES.find((one) => one.name === name);
    if (piece) await makePiece(connection, table, piece);
  }
  await installSet(connection, `  - { name: public.${tables.get(SHOVEL)} }`);
  await letApplicationWrite(connection);
  await installPgq(connection, [tables.get(PGQ) ?? '']);
  await installSlony(connection, [tables.get(SLONY) ?? '']);
  return tables;
}

const MODES = {
  transaction: {
    units: [100, 100 + TRANSACTIONS],
    rows: 1,
    statements: (table: string, units: number) => [
      `call public.run_${table}(20);`,
      `call public.run_${table}(${units});`,
    ],
  },
  bulk: {
    units: [2, 7],
    rows: ROWS,
    statements: (table: string, units: number) => [
      'begin;',
      ...Array.from({ length: units }, () => `update public.${table} set n = n + 1;`),
      'rollback;',
    ],
  },
} as const;

/** For a row: what more units take, beside what fewer do. */
async function perRow(
  data: string,
  { table, mode }: { table: string; mode: keyof typeof MODES },
): Promise<number> {
  const { units, rows, statements } = MODES[mode];
  const count = (some: number) =>
    countInstructions({
      data,
      database: 'postgres',
      statements: [`set role ${APPLICATION};`, ...statements(table, some)],
    });
  const [few, many] = [await count(units[0]), await count(units[1])];
  return (many - few) / ((units[1] - units[0]) * rows);
}

async function main(): Promise<void> {
  requireValgrind();
  const server = await startBenchServer(
    { autovacuum: 'off', jit: 'off', synchronous_commit: 'off' },
    { keep: true },
  );
  try {
    const connection = await server.connect('postgres');
    const tables = await makeTables(connection);
    await connection.end();
    const data = await server.halt();
    const found: { name: string; transaction: number; bulk: number }[] = [];
    for (const [name, table] of tables) {
      const transaction = await perRow(data, { table, mode: 'transaction' });
      const bulk = await perRow(data, { table, mode: 'bulk' });
      found.push({ name, transaction, bulk });
      process.stderr.write(`${name}: ${Math.round(transaction)} ${Math.round(bulk)}\n`);
    }
    const bare = found.find(({ name }) => name === BARE);
    const above = (name: string, mode: keyof typeof MODES) =>
      Math.round(
        (found.find((one) => one.name === name)?.[mode] ?? Number.NaN) - (bare?.[mode] ?? Number.NaN),
      );
    const ratio = (other: string, mode: keyof typeof MODES) =>
      Math.round((above(SHOVEL, mode) / above(other, mode)) * 1000) / 1000;
    const result = {
      command: `npm run bench -- writer-pieces --transactions ${TRANSACTIONS}`,
      unit: 'instructions of the backend for a row, above the bare table',
      postgres: (await runProgram(`${PROGRAMS}/bin/postgres`, ['--version'])).trim(),
      bare: { transaction: Math.round(bare?.transaction ?? 0), bulk: Math.round(bare?.bulk ?? 0) },
      pieces: found
        .filter(({ name }) => name !== BARE)
        .map(({ name }) => ({
          piece: name,
          transaction: above(name, 'transaction'),
          bulk: above(name, 'bulk'),
        })),
      ofPgq: { transaction: ratio(PGQ, 'transaction'), bulk: ratio(PGQ, 'bulk') },
      ofSlony: { transaction: ratio(SLONY, 'transaction'), bulk: ratio(SLONY, 'bulk') },
    };
    await writeFile(
      new URL('./results/writer-pieces.json', import.meta.url),
      `${JSON.stringify(result, null, 2)}\n`,
    );
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  } finally {
    await server.stop();
  }
}

await main();
