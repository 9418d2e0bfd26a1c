import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { IntegrityError } from '../../../src/errors.js';
import type { CapturedTable } from '../../../src/model/captured-table.js';
import { memberText } from '../../../src/model/json-text.js';
import type { Mutation } from '../../../src/model/mutation.js';
import { decodeMessage } from '../../../src/wire/decode.js';
import { createShovelBatch } from '../../../src/wire/shovel.js';

const BATCH = {
  cluster: 'default',
  db: 'app',
  set: 'example',
  nodeId: '6f',
  incarnation: 1,
  ticket: '42',
  tsMs: '1700000000123',
  setVersion: 3,
  snapshot: '10:20:12,15',
  previousTicket: '41',
  previousSnapshot: '5:10:',
  keyed: false,
  transactions: false,
};

const TABLE: CapturedTable = {
  schema: 'public',
  table: 'accounts',
  key: ['id'],
  columns: null,
  before: 'key',
  operations: ['insert', 'update', 'delete', 'truncate'],
  partitioned: false,
  base: 'capture_example_0123456789',
};

const ROW: Mutation = {
  seq: '1001',
  xid: '7421',
  atMs: '1700000000100',
  rel: '1',
  version: '3',
  op: 'I',
  mark: null,
  old: null,
  new: null,
  extra: null,
  metadata: null,
  partition: null,
};

const encode = (
  row: Partial<Mutation>,
  { table = {}, batch = {} }: { table?: Partial<CapturedTable>; batch?: Partial<typeof BATCH> } = {},
) => createShovelBatch({ ...BATCH, ...batch }).mutation({ ...ROW, ...row }, { ...TABLE, ...table });

const rows = (messages: ReturnType<typeof encode>) =>
  messages.map(({ op, key, value }) => [op, key, memberText(value, 'before'), memberText(value, 'after')]);

describe('format shovel', () => {
  it('writes the example of the contract, byte by byte', () => {
    const [message] = encode({
      op: 'U',
      old: '{"id" : 1}',
      new: '{"id":1,"balance":10.50}',
      metadata: '{"actor":"alice"}',
    });
    expect(message).toEqual({
      op: 'u',
      key: '{"id":1}',
      value:
        '{"before":null,"after":{"id":1,"balance":10.50},"op":"u","ts_ms":1700000000123,' +
        '"source":{"connector":"shovel","version":"1.0.0","name":"default","db":"app","schema":"public","table":"accounts",' +
        '"ts_ms":1700000000100,"snapshot":"false","txId":7421,"set":"example","set_version":3,"node":"6f","incarnation":1,' +
        '"ticket":"42","seq":"1001","metadata":{"actor":"alice"}},"transaction":null}',
    });
  });

  it('puts markers around a batch', () => {
    const batch = createShovelBatch(BATCH);
    const source =
      '{"name":"default","set":"example","set_version":3,"node":"6f","incarnation":1,"ticket":"42"}';
    expect(batch.begin().value).toBe(
      `{"op":"b","ts_ms":1700000000123,"source":${source},"previous":"41","snapshot":"10:20:12,15","previous_snapshot":"5:10:"}`,
    );
    expect(batch.end(17n, 'ab').value).toBe(
      `{"op":"e","source":${source},"count":"17","checksum":"sha256:ab"}`,
    );
  });

  it('says the old key only where it has changed', () => {
    const changed = { op: 'K', old: '{"id" : 1}', new: '{"id":2}' } as const;
    expect(rows(encode(changed))).toEqual([['u', '{"id":2}', '{"id":1}', '{"id":2}']]);
    expect(rows(encode(changed, { batch: { keyed: true } }))).toEqual([
      ['d', '{"id":1}', '{"id":1}', 'null'],
      ['c', '{"id":2}', 'null', '{"id":2}'],
    ]);
    // Statement capture logs no old row where the key stays.
    expect(rows(encode({ op: 'U', new: '{"id":1}' }))).toEqual([['u', '{"id":1}', 'null', '{"id":1}']]);
    // A fallback does not know whether it has.
    const fallback = { op: 'U', mark: 'f', old: '{"id":1,"v":1}', new: '{"id":1,"v":2}' } as const;
    expect(rows(encode(fallback))).toEqual([['u', '{"id":1}', 'null', '{"id":1,"v":2}']]);
  });

  it('says whole old rows where they are asked for, and no key where there is none', () => {
    const update = { op: 'U', old: '{"id":1,"v":1}', new: '{"id":1,"v":2}' } as const;
    expect(rows(encode(update, { table: { before: 'full' } }))).toEqual([
      ['u', '{"id":1}', '{"id":1,"v":1}', '{"id":1,"v":2}'],
    ]);
    const keyless = { table: { before: 'full', key: null } } as const;
    expect(rows(encode(update, keyless))).toEqual([['u', null, '{"id":1,"v":1}', '{"id":1,"v":2}']]);
    expect(rows(encode({ op: 'D', old: '{"id":1,"v":1}' }, keyless))).toEqual([
      ['d', null, '{"id":1,"v":1}', 'null'],
    ]);
  });

  it('chooses columns, in their order, in the form of row_to_json', () => {
    const table = { columns: ['b', 'id'] };
    expect(rows(encode({ new: '{"id" : 1, "secret" : 2, "b" : {"x": 1}}' }, { table }))).toEqual([
      ['c', '{"id":1}', 'null', '{"b":{"x": 1},"id":1}'],
    ]);
    expect(rows(encode({ op: 'D', old: '{"id" : 1}' }, { table }))).toEqual([
      ['d', '{"id":1}', '{"id":1}', 'null'],
    ]);
  });

  it('puts back what JSON can not tell, and leaves out what did not change', () => {
    const [inserted] = encode({
      new: '{"id":1,"a":[1,2],"j":null}',
      extra: '{"new" : {"text" : {"a" : "[0:1]={1,2}"}, "json_null" : ["j"]}}',
    });
    expect(memberText(inserted?.value ?? '', 'after')).toBe('{"id":1,"a":"[0:1]={1,2}","j":null}');
    expect(decodeMessage(inserted?.value ?? '')).toMatchObject({ source: { jsonNull: ['j'] } });
    const [updated] = encode({
      op: 'U',
      old: '{"id" : 1}',
      new: '{"id":1,"big":null,"v":2}',
      extra: '{"update" : {"unchanged" : ["big"]}}',
    });
    expect(memberText(updated?.value ?? '', 'after')).toBe('{"id":1,"v":2}');
    expect(decodeMessage(updated?.value ?? '')).toMatchObject({ source: { unchanged: ['big'] } });
  });

  it('names the partition that alone was truncated', () => {
    const [message] = encode({ op: 'T', partition: { name: '"public.p_1"', bound: '"DEFAULT"' } });
    expect(decodeMessage(message?.value ?? '')).toMatchObject({
      op: 't',
      source: { partition: 'public.p_1', bound: 'DEFAULT' },
    });
  });

  it.each([
    ['row_oversized', { mark: 'o', old: '{"id" : 77}' }],
    ['row_unreadable', { mark: 'u', old: '{"id" : 77}', extra: '22P02' }],
    ['log_row_damaged', { op: 'D', old: null }],
    ['row_key_missing', { op: 'D', old: '{"other" : 77}' }],
  ] as const)('stops with %s, naming the table and the mutation, never a value', (code, row) => {
    const error: unknown = (() => {
      try {
        return encode(row);
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toMatchObject({ code, exitCode: 25, retryable: code === 'row_key_missing' });
    const { message, hint, details } = error as IntegrityError;
    expect(message).toContain('public.accounts');
    expect(message).toContain('1001');
    expect(JSON.stringify([message, hint, details])).not.toContain('77');
  });

  it('loses nothing of any row', () => {
    const value = fc.oneof(
      fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }).map(String),
      fc.string({ unit: 'binary' }).map((text) => JSON.stringify(text)),
      fc.json(),
      fc.constantFrom('null', 'true', '1.50', '1e400', '"NaN"', '[1,\n2]'),
    );
    const column = fc.string({ minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(column, value), { selector: ([name]) => name }), (members) => {
        const json = `{"id":1${members
          .filter(([name]) => name !== 'id')
          .map(([name, raw]) => `,${JSON.stringify(name)}:${raw}`)
          .join('')}}`;
        const [whole] = encode({ new: json });
        const line = whole?.value ?? '';
        expect(line).not.toMatch(/[\r\n]/);
        expect(memberText(line, 'after')).toBe(json.replaceAll('\n', ' '));
        const spaced = json.replaceAll(',', ',').replace('{', '{ ');
        const names = ['id', ...members.map(([name]) => name).filter((name) => name !== 'id')];
        const [chosen] = encode({ new: spaced }, { table: { columns: names } });
        expect(memberText(chosen?.value ?? '', 'after')).toBe(json.replaceAll('\n', ' '));
        const decoded = decodeMessage(line);
        expect(decoded).toMatchObject({ kind: 'mutation', op: 'c', after: json.replaceAll('\n', ' ') });
      }),
    );
  });
});
