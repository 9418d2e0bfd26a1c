/** What must hold for targets: one kind each, a stream that can be read, tables and columns that stay apart. */
import { formatTableName, parseColumnName, parseTableName } from './names.js';
import type { QualifiedName } from './set-configuration.js';
import { destinationConflicts } from './set-file-destinations.js';
import type { Finding } from './set-file-issues.js';
import { dsnFindings, exactlyOne, near, schemeFindings } from './set-file-rules-common.js';
import { streamTables } from './set-file-rules-streams.js';
import { entries, type Fields, type Item, inner, isFields, overlaps, textOf } from './set-file-view.js';
import { parseTemplate } from './template.js';

type Tables = ReadonlyArray<Item<QualifiedName>>;
type Target = Item<Fields> & { readonly name: string };

const KINDS = ['postgres', 'redis', 'handler'] as const;

/** Keys that only some kinds of target know. */
const ONLY_FOR: ReadonlyArray<readonly [key: string, kinds: readonly string[]]> = [
  ['tables', ['postgres']],
  ['truncate', ['postgres']],
  ['atomic', ['postgres', 'handler']],
];

export function targetFindings(data: Fields, tables: Tables): readonly Finding[] {
  const targets = entries(data, 'targets');
  const streams = new Map(entries(data, 'streams').map((stream) => [stream.name, stream]));
  const declared = isFields(data.streams) ? Object.keys(data.streams) : [];
  return [
    ...targets.flatMap((target) => {
      const stream = textOf(target, 'stream');
      const read = stream === undefined ? undefined : streams.get(stream.value);
      const available = read === undefined ? tables.map(({ value }) => value) : streamTables(read, tables);
      return [
        ...exactlyOne(target, KINDS),
        ...(stream === undefined ? [] : sourceFindings(stream, { read, declared })),
        ...kindFindings(target),
        ...tableFindings(target, available),
        ...redisFindings(target, available),
      ];
    }),
    ...groupFindings(targets),
  ];
}

function sourceFindings(
  stream: Item<string>,
  context: { readonly read: Item<Fields> | undefined; readonly declared: readonly string[] },
): readonly Finding[] {
  if (!context.declared.includes(stream.value)) {
    return [
      {
        path: stream.path,
        at: 'value',
        message: `there is no stream ${stream.value}`,
        hint: near(stream.value, context.declared),
      },
    ];
  }
  const file = context.read === undefined ? undefined : inner(context.read, 'file');
  return file?.value.path === '-'
    ? [
        {
          path: stream.path,
          at: 'value',
          message: `stream ${stream.value} goes to stdout, which no applier can read`,
          hint: 'read a stream with a broker or a file',
        },
      ]
    : [];
}

function kindFindings(target: Target): readonly Finding[] {
  const kind = KINDS.find((key) => target.value[key] !== undefined);
  const result: Finding[] = [];
  for (const [key, kinds] of ONLY_FOR) {
    if (kind !== undefined && target.value[key] !== undefined && !kinds.includes(kind)) {
      result.push({
        path: [...target.path, key],
        at: 'key',
        message: `${key} is of no use with ${kind}`,
        hint: `it goes with ${kinds.join(', ')}`,
      });
    }
  }
  const handler = inner(target, 'handler');
  if (handler !== undefined && handler.value.postgres === undefined && target.value.atomic !== undefined) {
    result.push({
      path: [...target.path, 'atomic'],
      at: 'key',
      message: 'a handler without postgres has no transaction that could commit with others',
      hint: 'add postgres: { dsn } to the handler, or leave atomic out',
    });
  }
  for (const holder of [
    inner(target, 'postgres'),
    handler === undefined ? undefined : inner(handler, 'postgres'),
  ]) {
    const dsn = holder === undefined ? undefined : textOf(holder, 'dsn');
    result.push(...(dsn === undefined ? [] : dsnFindings(dsn)));
  }
  return result;
}

function tableFindings(target: Target, available: readonly QualifiedName[]): readonly Finding[] {
  const map = inner(target, 'tables');
  const known = available.map(formatTableName);
  const result: Finding[] = [];
  const moved = new Map<string, string>();
  for (const [text, value] of Object.entries(map?.value ?? {})) {
    const parsed = parseTableName(text);
    const path = [...target.path, 'tables', text];
    if ('problem' in parsed) {
      result.push({ path, at: 'key', message: parsed.problem, hint: parsed.hint });
      continue;
    }
    if (parsed.name.table === '*') {
      const message = 'one table is meant here, not all of a schema';
      result.push({ path, at: 'key', message, hint: 'write schema.table' });
      continue;
    }
    const from = formatTableName(parsed.name);
    if (moved.has(from)) {
      result.push({ path, at: 'key', message: `table ${from} is listed twice`, hint: 'remove one' });
      continue;
    }
    moved.set(from, from);
    if (!available.some((table) => overlaps(table, parsed.name))) {
      result.push({
        path,
        at: 'key',
        message: `table ${from} is not in the stream`,
        hint: near(from, known),
      });
    }
    if (isFields(value)) {
      result.push(...columnFindings({ value, path }));
      const to = typeof value.to === 'string' ? parseTableName(value.to) : undefined;
      if (to !== undefined && 'name' in to) {
        moved.set(from, formatTableName(to.name));
      }
    }
  }
  return [...result, ...meetingTables(target, { moved, available })];
}

/** Two tables written into one. */
function meetingTables(
  target: Target,
  context: { readonly moved: ReadonlyMap<string, string>; readonly available: readonly QualifiedName[] },
): readonly Finding[] {
  const places = new Map<string, string>();
  for (const table of context.available) {
    const name = formatTableName(table);
    if (table.table !== '*' && !context.moved.has(name)) {
      places.set(name, name);
    }
  }
  const result: Finding[] = [];
  for (const [from, to] of context.moved) {
    const other = places.get(to);
    if (other === undefined) {
      places.set(to, from);
    } else {
      result.push({
        path: [...target.path, 'tables'],
        at: 'value',
        message: `${other} and ${from} would both be written to ${to}`,
        hint: 'give each table a name of its own in the target',
      });
    }
  }
  return result;
}

function columnFindings(table: Item<Fields>): readonly Finding[] {
  const columns = inner(table, 'columns');
  const seen = new Map<string, string>();
  return Object.entries(columns?.value ?? {}).flatMap(([from, to]): readonly Finding[] => {
    const parsed = typeof to === 'string' ? parseColumnName(to) : undefined;
    if (parsed === undefined || 'problem' in parsed) {
      return [];
    }
    const before = seen.get(parsed.name);
    seen.set(parsed.name, before ?? from);
    return before === undefined
      ? []
      : [
          {
            path: [...table.path, 'columns', from],
            at: 'value',
            message: `columns ${before} and ${from} would both be written to ${parsed.name}`,
            hint: 'give each column a name of its own in the target',
          },
        ];
  });
}

function redisFindings(target: Target, available: readonly QualifiedName[]): readonly Finding[] {
  const redis = inner(target, 'redis');
  const url = redis === undefined ? undefined : textOf(redis, 'url');
  const key = redis === undefined ? undefined : textOf(redis, 'key');
  const scheme = url === undefined ? [] : schemeFindings(url, ['redis', 'rediss']);
  return key === undefined ? scheme : [...scheme, ...redisKeyFindings(key, available)];
}

function redisKeyFindings(key: Item<string>, available: readonly QualifiedName[]): readonly Finding[] {
  const parts = parseTemplate(key.value, { columns: true });
  if ('problem' in parts) {
    return [{ path: key.path, at: 'value', offset: parts.offset, message: parts.problem, hint: parts.hint }];
  }
  const names = parts.flatMap((part) => (part.kind === 'placeholder' ? [part.name] : []));
  if (names.every((name) => ['cluster', 'set', 'node', 'schema', 'table'].includes(name))) {
    return [
      {
        path: key.path,
        at: 'value',
        message: 'all rows of a table would have the same key',
        hint: "add the key's columns: {table}:{id}",
      },
    ];
  }
  const tables = available.filter(({ table }) => table !== '*');
  const apart =
    names.includes('schema') && new Set(tables.map(({ schema }) => schema)).size === available.length;
  if (!names.includes('table') && available.length > 1 && !apart) {
    return [
      {
        path: key.path,
        at: 'value',
        message: 'rows of several tables could have the same key',
        hint: 'add {table}',
      },
    ];
  }
  return destinationConflicts(key.value, { tables, kafka: false }).map((conflict) => ({
    path: key.path,
    at: 'value',
    message: `rows of ${formatTableName(conflict.first)} and ${formatTableName(conflict.second)} could have the same key`,
    hint: 'add {schema} to the key',
  }));
}

/** One transaction over several targets holds one batch: of one stream. */
function groupFindings(targets: readonly Target[]): readonly Finding[] {
  const groups = new Map<string, { readonly target: string; readonly stream: string }>();
  return targets.flatMap((target): readonly Finding[] => {
    const group = textOf(target, 'atomic');
    const stream = textOf(target, 'stream');
    if (group === undefined || stream === undefined) {
      return [];
    }
    const first = groups.get(group.value);
    if (first === undefined) {
      groups.set(group.value, { target: target.name, stream: stream.value });
      return [];
    }
    return first.stream === stream.value
      ? []
      : [
          {
            path: group.path,
            at: 'value',
            message: `targets ${first.target} and ${target.name} of group ${group.value} read different streams`,
            hint: 'let all targets of a group read one stream',
          },
        ];
  });
}
