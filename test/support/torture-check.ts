/**
 * What consumers find, held against the database: every batch a state that the source was in, and in the end its tables,
 * from a file, from one of whole transactions, from a topic and from keyed topics. What comes from another incarnation
 * of the node begins anew.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { memberText } from '../../src/model/json-text.js';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { compareTable } from './compare-table.js';
import { type ReadMessage, readTopic } from './kafka.js';
import { Reader } from './reader.js';
import { TABLES } from './torture-database.js';

/** What the keyed stream carries, in two partitions each. */
export const KEYED: readonly string[] = ['item', 'sieve', 'tree', 'phoenix'];

export interface CheckedNode {
  /** Where `NODE.jsonl` and `NODE.whole.jsonl` are. */
  readonly folder: string;
  readonly nodeId: string;
  /** Of whole batches; the keyed ones are `TOPIC.TABLE`. */
  readonly topic: string;
  readonly brokers: readonly string[];
  /** The last one. */
  readonly ticket: bigint;
  /** Whether the tables are as they were then. */
  readonly compare: boolean;
}

/** `problems` are in words; `[]` where nothing is wrong. */
export async function checkNode(
  connection: PostgresConnection,
  node: CheckedNode,
): Promise<{ readonly problems: readonly string[]; readonly published: number; readonly ticket: bigint }> {
  const lines = await linesOf(node, '');
  const { reader, problems: wrong } = consume(lines);
  const problems = [...wrong];
  if (reader.ticket !== undefined && reader.ticket !== node.ticket) {
    problems.push(`the last ticket is ${node.ticket}, the file ends with ${reader.ticket}`);
  }
  if (wrong.length === 0 && node.compare) {
    problems.push(...(await compareTables(connection, { reader, values: lines })));
  }
  problems.push(...(await checkTopic(node, lines)));
  problems.push(...(await checkWhole(connection, { node, mutations: reader.mutations.length })));
  for (const table of KEYED) problems.push(...(await checkKeyed(connection, { node, table })));
  return { problems, published: lines.length, ticket: reader.ticket ?? 0n };
}

async function linesOf({ folder, nodeId }: CheckedNode, more: string): Promise<readonly string[]> {
  return (await readFile(join(folder, `${nodeId}${more}.jsonl`), 'utf8')).split('\n').slice(0, -1);
}

async function checkWhole(
  connection: PostgresConnection,
  { node, mutations }: { readonly node: CheckedNode; readonly mutations: number },
): Promise<readonly string[]> {
  const values = await linesOf(node, '.whole');
  const { reader, problems: wrong } = consume(values, { transactions: true });
  const problems = [...wrong];
  if (wrong.length === 0 && node.compare) {
    problems.push(...(await compareTables(connection, { reader, values })));
  }
  if (reader.mutations.length !== mutations) {
    problems.push(`${reader.mutations.length} mutations, ${mutations} in the other file`);
  }
  return problems.map((problem) => `whole transactions: ${problem}`);
}

/** The topic of whole batches has what the file has, once. */
async function checkTopic(
  { brokers, topic }: CheckedNode,
  lines: readonly string[],
): Promise<readonly string[]> {
  const messages = await readTopic(brokers, topic, { atLeast: lines.length });
  const values = messages.map(({ value }) => value ?? '');
  const problems: string[] = [];
  if (isRepeated(messages)) problems.push('a message is twice in the topic');
  const differs = lines.findIndex((line, i) => line !== values[i]);
  if (differs >= 0 || lines.length !== values.length) {
    problems.push(
      `file and topic differ: ${lines.length} lines, ${values.length} messages, the first at ${differs}`,
      ...consume(values).problems.map((problem) => `topic: ${problem}`),
    );
  }
  return problems;
}

/** Per row, a keyed topic tells what happened in its order. */
async function checkKeyed(
  connection: PostgresConnection,
  { node, table }: { readonly node: CheckedNode; readonly table: string },
): Promise<readonly string[]> {
  const messages = await readTopic(node.brokers, `${node.topic}.${table}`);
  const problems: string[] = [];
  const readers = [0, 1].map((partition) => {
    const own = messages.filter((message) => message.partition === partition);
    if (isRepeated(own)) problems.push('a message is twice');
    const consumed = consume(
      own.map(({ value }) => value ?? ''),
      { keyed: true },
    );
    problems.push(...consumed.problems);
    return consumed.reader;
  });
  const reader = { rowsWithNulls: (name: string) => readers.flatMap((one) => one.rowsWithNulls(name)) };
  const values = messages.map(({ value }) => value ?? '');
  if (problems.length === 0 && node.compare) {
    problems.push(...(await compareTables(connection, { reader, values, tables: [table] })));
  }
  return problems.map((problem) => `keyed topic of ${table}: ${problem}`);
}

function isRepeated(messages: readonly ReadMessage[]): boolean {
  const ids = messages.map(({ headers }) => `${headers['shovel-id']} ${headers['shovel-op']}`);
  return new Set(ids).size !== ids.length;
}

interface Consumed {
  /** What is wrong, in words. */
  readonly problems: readonly string[];
  readonly reader: Reader;
}

/**
 * Reads from the first message on, and stops at the first thing that can't be. `keyed`: one partition of a keyed topic;
 * `transactions`: of a stream of whole ones.
 */
function consume(
  values: readonly string[],
  { keyed = false, transactions = false }: { readonly keyed?: boolean; readonly transactions?: boolean } = {},
): Consumed {
  const make = () =>
    new Reader({
      keys: Object.fromEntries(Object.entries(TABLES).map(([table, { key }]) => [`public.${table}`, key])),
      inPartition: (row, { partition }) => isIn(row, partition),
      markers: !keyed,
      transactions,
    });
  let reader = make();
  let incarnation = '1';
  for (const [i, value] of values.entries()) {
    const own = memberText(memberText(value, 'source') ?? '{}', 'incarnation') ?? '';
    if (own !== incarnation) {
      if (reader.within)
        return { reader, problems: [`message ${i}: a batch of incarnation ${incarnation} has no end`] };
      reader = make();
      incarnation = own;
    }
    try {
      reader.take(value);
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error);
      return { reader, problems: [`message ${i}: ${what}\n${value}\n${story(values.slice(0, i), value)}`] };
    }
    if (!value.startsWith('{"op":"e"')) continue;
    const total = sum(reader, 'public.purse') + sum(reader, 'public.vault');
    if (total !== 0) {
      return { reader, problems: [`after ticket ${reader.ticket} ${total} is there that nobody ever had`] };
    }
  }
  const problems = reader.within ? ['the last batch has no end'] : [];
  return { reader, problems: [...problems, ...wrongTags(reader)] };
}

/** `[]` where the tables are what was published. */
async function compareTables(
  connection: PostgresConnection,
  {
    reader,
    values,
    tables = Object.keys(TABLES),
  }: {
    readonly reader: Pick<Reader, 'rowsWithNulls'>;
    readonly values: readonly string[];
    readonly tables?: readonly string[];
  },
): Promise<readonly string[]> {
  const problems: string[] = [];
  for (const [table, { where }] of Object.entries(TABLES)) {
    if (!tables.includes(table)) continue;
    const found = await compareTable(
      { connection, reader },
      { schema: 'public', table, ...(where === undefined ? {} : { where }) },
    );
    problems.push(...found.slice(0, 5).map((line) => `${table}: ${line}`));
    const id = /\((\d+)/.exec(found[0] ?? '')?.[1];
    if (id !== undefined)
      problems.push(story(values, `{"after":{"id":${id}},"source":{"table":"${table}"}}`));
  }
  return problems;
}

function isIn(row: string, partition: string): boolean {
  const kind = memberText(row, 'kind');
  const id = Number(memberText(row, 'id'));
  switch (partition) {
    case 'public.tree_a':
      return kind === '"a"';
    case 'public.tree_b':
      return kind === '"b"';
    case 'public.tree_b_low':
      return kind === '"b"' && id < 15;
    case 'public.tree_b_high':
      return kind === '"b"' && id >= 15;
    default:
      throw new Error(`nobody truncates ${partition}`);
  }
}

function sum(reader: Reader, table: string): number {
  return reader
    .rowsWithNulls(table)
    .reduce((total, { text }) => total + Number(memberText(text, 'amount')), 0);
}

/** A row that tells its transaction's context must come with it. */
function wrongTags(reader: Reader): readonly string[] {
  return reader.mutations.flatMap(({ op, table, after, source }) => {
    const tag = op === 'c' && table === 'public.bag' ? memberText(after, 'b') : undefined;
    if (tag === undefined || !tag.startsWith('"tag ')) return [];
    const told = memberText(memberText(source, 'metadata') ?? '{}', 'tag');
    return told === tag ? [] : [`the row with ${tag} comes with the context of ${told}`];
  });
}

/** The row's last messages. */
function story(values: readonly string[], value: string): string {
  const about = (line: string) => ({
    table: memberText(memberText(line, 'source') ?? '{}', 'table'),
    ids: ['before', 'after'].map((image) => memberText(memberText(line, image) ?? '{}', 'id')),
  });
  const one = about(value);
  return values
    .filter((line) => {
      if (!line.includes(`"table":${one.table}`)) return false;
      const { ids } = about(line);
      return ids.some((id) => id !== undefined && one.ids.includes(id)) || line.includes('"op":"t"');
    })
    .slice(-8)
    .map((line) => `  ${line.slice(0, 700)}`)
    .join('\n');
}
