/**
 * Cases that the test suites of PgQ, Slony and Debezium have, told anew: tables, writes, and the messages that must
 * come of them. All cases of a run are one set, each in a schema of its own; after each the messages so far must also
 * make the tables that are there.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { memberText } from '../../src/model/json-text.js';
import { quoteIdentifier } from '../../src/postgres/sql-files.js';
import { type ComparedTable, compareTable, tableEntry } from './compare-table.js';
import { SERVERS } from './pg-versions.js';
import { Reader } from './reader.js';
import { RelayedNode, type RunningRelay } from './relayed-node.js';

export interface PeerTable extends Pick<ComparedTable, 'excluded' | 'where'> {
  /** Of the message's key; null: keyless. */
  readonly key: readonly string[] | null;
  /** Other keys of its entry in the set file, YAML in flow style. */
  readonly options?: string;
}

export interface PeerCase {
  /** The project and what the case is called there. */
  readonly from: string;
  /** What must hold, as the rest of a sentence. */
  readonly shows: string;
  /** Default: made up. */
  readonly schema?: string;
  /** Run with the case's schema first in the path. */
  readonly setup: string;
  readonly tables: Readonly<Record<string, PeerTable>>;
  readonly settings?: Readonly<Record<string, string>>;
  /** Each runs as one script, in the order given. */
  readonly writes: readonly string[];
  /** As `shortly` says them. */
  readonly published: readonly string[];
  /** Default true. False where the case does what no trigger sees, or leaves tables behind that aren't there. */
  readonly makesTables?: boolean;
}

export function runPeerCases(title: string, list: readonly PeerCase[]): void {
  const cases = list.map((one, n) => ({ ...one, schema: one.schema ?? `c${n}` }));
  describe.each(SERVERS)(`${title} on $name`, ({ url }) => {
    let relayed: RelayedNode | undefined;
    let relay: RunningRelay | undefined;
    let read = 0;
    const reader = new Reader({
      keys: Object.fromEntries(
        cases.flatMap(({ schema, tables }) =>
          Object.entries(tables).map(([table, { key }]) => [`${schema}.${table}`, key]),
        ),
      ),
      keepMutations: false,
    });

    beforeAll(async () => {
      relayed = await RelayedNode.create({
        server: url(),
        setup: `create extension hstore; ${cases
          .map(({ schema, setup }) => {
            const name = quoteIdentifier(schema);
            return `create schema if not exists ${name}; set search_path = ${name}, public; ${setup};`;
          })
          .join('\n')}`,
        tables: cases
          .flatMap(({ schema, tables }) =>
            Object.entries(tables).map(([table, options]) => tableEntry({ schema, table, ...options })),
          )
          .join('\n'),
      });
      relay = relayed.start();
    });
    afterAll(() => relayed?.close());

    it.each(cases)('$from: $shows', async ({ schema, settings, writes, published, tables, makesTables }) => {
      if (!relayed || !relay) throw new Error('there is no relay');
      const session = await relayed.node.session({
        settings: { ...settings, search_path: `${quoteIdentifier(schema)}, public` },
      });
      for (const script of writes) await session.script(script);
      const lines = await relayed.published(relay);
      const fresh = lines.slice(read);
      read = lines.length;
      expect(fresh.flatMap(shortly)).toEqual(published);
      for (const line of fresh) reader.take(line);
      if (makesTables === false) return;
      for (const [table, options] of Object.entries(tables)) {
        expect(
          await compareTable({ connection: relayed.node.connection, reader }, { schema, table, ...options }),
        ).toEqual([]);
      }
    });
  });
}

/** `u table before → after remarks`; of a long one its beginning and its length. Markers are left out. */
function shortly(line: string): readonly string[] {
  const op = memberText(line, 'op')?.slice(1, -1);
  if (op === 'b' || op === 'e') return [];
  const source = memberText(line, 'source') ?? '';
  const images = ['before', 'after']
    .map((side) => memberText(line, side))
    .filter((image) => image !== 'null')
    .join(' → ');
  const remarks = ['metadata', 'partition', 'bound', 'json_null', 'json_null_before', 'unchanged'].flatMap(
    (member) => {
      const value = memberText(source, member);
      return value === undefined ? [] : [`${member} ${value}`];
    },
  );
  const text = [op, JSON.parse(memberText(source, 'table') ?? ''), images, ...remarks]
    .filter((part) => part !== '')
    .join(' ');
  return [abbreviated(text)];
}

/** What a long text begins with, and how long it is. */
export function abbreviated(text: string): string {
  return text.length <= 400 ? text : `${text.slice(0, 20)}… ${text.length} characters`;
}
