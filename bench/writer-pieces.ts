/**
 * What each piece of a row's capture costs the writer: trigger functions that do a little more each, on a table of their
 * own, up to the one that shovel makes. All run as a role that the writer is not. One session updates one row in each transaction, without round trips, so the
 * figures hold still on a busy machine: CPU of the backend, the least of the rounds. Writes
 * bench/results/writer-pieces.json.
 *
 *   npm run bench -- writer-pieces [--rounds 9] [--transactions 3000]
 */
import { writeFile } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import type { PostgresConnection } from '../src/postgres/connect.js';
import {
  APPLICATION,
  letApplicationWrite,
  ownCpu,
  PROGRAMS,
  runProgram,
  startBenchServer,
} from './support/bench-server.js';
import { installSet } from './support/install-set.js';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '9' },
    transactions: { type: 'string', default: '3000' },
  },
});
const ROUNDS = Number(flags.rounds);
const TRANSACTIONS = Number(flags.transactions);

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
    insert into public.${table} select g, 0, 'name ' || g, g * 1.5 from generate_series(1, 100) g;
    create procedure public.run_${table}(count int) language plpgsql as $$
    begin
      for i in 1..count loop
        update public.${table} set n = n + 1 where id = 1 + i % 100;
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

async function main(): Promise<void> {
  const server = await startBenchServer({
    shared_buffers: '512MB',
    max_wal_size: '8GB',
    checkpoint_timeout: '1h',
    autovacuum: 'off',
    jit: 'off',
    synchronous_commit: 'off',
    full_page_writes: 'off',
  });
  try {
    const connection = await server.connect('postgres');
    const tables = new Map(
      [BARE, ...PIECES.map((piece) => piece.name), SHOVEL].map((name, i) => [name, `t${i}`]),
    );
    for (const [name, table] of tables) {
      await makeTable(connection, table);
      const piece = PIECES.find((one) => one.name === name);
      if (piece) await makePiece(connection, table, piece);
    }
    await installSet(connection, `  - { name: public.${tables.get(SHOVEL)} }`);
    await letApplicationWrite(connection);
    await connection.script(`set role ${APPLICATION}`);
    const load = loadavg()[0];
    const pid = Number((await connection.query('select pg_backend_pid() as pid'))[0]?.pid);
    const least = new Map<string, number>();
    for (let round = 0; round < ROUNDS; round += 1) {
      const turn = round % 2 === 0 ? [...tables] : [...tables].toReversed();
      for (const [name, table] of turn) {
        await connection.script(`call public.run_${table}(20)`);
        const cpu = ownCpu(pid);
        await connection.script(`call public.run_${table}(${TRANSACTIONS})`);
        const each = ((ownCpu(pid) - cpu) * 1e6) / TRANSACTIONS;
        least.set(name, Math.min(least.get(name) ?? Number.POSITIVE_INFINITY, each));
      }
    }
    await connection.end();
    const bare = least.get(BARE) ?? Number.NaN;
    let before = bare;
    const pieces = [...least]
      .filter(([name]) => name !== BARE)
      .map(([name, cpuUs]) => {
        const found = { piece: name, addsUs: round2(cpuUs - before), togetherUs: round2(cpuUs - bare) };
        before = cpuUs;
        return found;
      });
    const result = {
      command: `npm run bench -- writer-pieces --rounds ${ROUNDS} --transactions ${TRANSACTIONS}`,
      machine: { cpus: cpus().length, model: cpus()[0]?.model, loadBefore: load },
      postgres: (await runProgram(`${PROGRAMS}/bin/postgres`, ['--version'])).trim(),
      bareUs: round2(bare),
      pieces,
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

function round2(value: number): number {
  return Math.round(value * 100) / 100;
}

await main();
