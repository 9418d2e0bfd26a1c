/** What must hold for streams: one destination each, of known tables, with templates that keep them apart. */
import { formatTableName } from './names.js';
import type { QualifiedName } from './set-configuration.js';
import { destinationConflicts, destinationOf } from './set-file-destinations.js';
import type { Finding } from './set-file-issues.js';
import { exactlyOne, near, schemeFindings } from './set-file-rules-common.js';
import {
  covers,
  entries,
  type Fields,
  type Item,
  inner,
  isFields,
  overlaps,
  tableOf,
  textOf,
  texts,
} from './set-file-view.js';
import { hasPlaceholder, parseTemplate, topicProblem } from './template.js';
import { variablesOf, withoutVariables } from './variables.js';

type Tables = ReadonlyArray<Item<QualifiedName>>;
type Stream = Item<Fields> & { readonly name: string };

/** Topic of a stream that names none. */
export const DEFAULT_TOPIC = 'shovel.{set}';
/** Topic of a stream of format debezium that names none. */
export const DEFAULT_DEBEZIUM_TOPIC = 'shovel.{set}.{schema}.{table}';

const KINDS = ['kafka', 'stomp', 'file'] as const;

/** Where a stream goes: `place` tells brokers or hosts apart, as far as texts can. */
interface Destination {
  readonly kind: (typeof KINDS)[number];
  readonly place: string;
  readonly template: string;
  /** Path of the template, or of what it is the default of. */
  readonly path: Item<string>['path'];
}

export function streamFindings(data: Fields, tables: Tables): readonly Finding[] {
  const streams = entries(data, 'streams');
  return [
    ...streams.flatMap((stream) => [
      ...exactlyOne(stream, KINDS),
      ...tableFindings(stream, tables),
      ...placeFindings(stream),
      ...formatFindings(stream),
      ...destinationFindings(stream, { data, tables }),
    ]),
    ...meetingStreams(streams, tables),
  ];
}

/** The set's entries that a stream reads. */
export function streamTables(stream: Item<Fields>, tables: Tables): readonly QualifiedName[] {
  const names = texts(stream, 'tables')?.flatMap((text) => tableOf(text) ?? []);
  if (names === undefined) {
    return tables.map(({ value }) => value);
  }
  return names.flatMap(({ value }) => {
    const listed = tables.filter((table) => covers(value, table.value)).map((table) => table.value);
    return listed.length > 0 ? listed : [value];
  });
}

function tableFindings(stream: Stream, tables: Tables): readonly Finding[] {
  const seen = new Set<string>();
  const known = tables.map(({ value }) => formatTableName(value));
  return (texts(stream, 'tables') ?? []).flatMap((text): readonly Finding[] => {
    const table = tableOf(text);
    if (table === undefined) {
      return [];
    }
    const name = formatTableName(table.value);
    if (seen.has(name)) {
      return [{ path: text.path, at: 'value', message: `table ${name} is listed twice`, hint: 'remove one' }];
    }
    seen.add(name);
    return tables.some(({ value }) => overlaps(value, table.value))
      ? []
      : [
          {
            path: text.path,
            at: 'value',
            message: `table ${name} is not in the set`,
            hint: near(name, known),
          },
        ];
  });
}

function placeFindings(stream: Stream): readonly Finding[] {
  const kafka = inner(stream, 'kafka');
  const brokers = kafka === undefined ? [] : (texts(kafka, 'brokers') ?? []);
  const stomp = inner(stream, 'stomp');
  const url = stomp === undefined ? undefined : textOf(stomp, 'url');
  return [
    ...brokers.flatMap((broker): readonly Finding[] =>
      variablesOf(broker.value).length > 0 || /^[^\s,/@]+:\d{1,5}$/.test(broker.value)
        ? []
        : [
            {
              path: broker.path,
              at: 'value',
              message: 'a broker is host:port',
              hint: 'write e.g. 127.0.0.1:9092',
            },
          ],
    ),
    ...(url === undefined ? [] : schemeFindings(url, ['stomp', 'stomp+ssl', 'stomps'])),
  ];
}

/** The stream's format, and Debezium's options where given. */
function formatOf(stream: Item<Fields>): { readonly name: unknown; readonly options?: Item<Fields> } {
  const { format } = stream.value;
  if (!isFields(format)) {
    return { name: format ?? 'shovel' };
  }
  const options = inner({ value: format, path: [...stream.path, 'format'] }, 'debezium');
  return options === undefined ? { name: 'debezium' } : { name: 'debezium', options };
}

function formatFindings(stream: Stream): readonly Finding[] {
  const { options } = formatOf(stream);
  return options?.value['provide.transaction.metadata'] === true && stream.value.transactions === false
    ? [
        {
          path: [...options.path, 'provide.transaction.metadata'],
          at: 'value',
          message: 'provide.transaction.metadata needs transactions: true',
          hint: 'leave transactions out, or set it to true',
        },
      ]
    : [];
}

function destinationFor(stream: Stream): Destination | undefined {
  const kafka = inner(stream, 'kafka');
  if (kafka !== undefined) {
    const topic = textOf(kafka, 'topic');
    const fallback = formatOf(stream).name === 'debezium' ? DEFAULT_DEBEZIUM_TOPIC : DEFAULT_TOPIC;
    const brokers = (texts(kafka, 'brokers') ?? []).map(({ value }) => value).sort();
    return {
      kind: 'kafka',
      place: brokers.join(','),
      template: topic?.value ?? fallback,
      path: topic?.path ?? kafka.path,
    };
  }
  const stomp = inner(stream, 'stomp');
  const destination = stomp === undefined ? undefined : textOf(stomp, 'destination');
  if (stomp !== undefined && destination !== undefined) {
    const place = textOf(stomp, 'url')?.value ?? '';
    return { kind: 'stomp', place, template: destination.value, path: destination.path };
  }
  const file = inner(stream, 'file');
  const path = file === undefined ? undefined : textOf(file, 'path');
  return path === undefined ? undefined : { kind: 'file', place: '', template: path.value, path: path.path };
}

function destinationFindings(
  stream: Stream,
  set: { readonly data: Fields; readonly tables: Tables },
): readonly Finding[] {
  const destination = destinationFor(stream);
  if (destination === undefined) {
    return [];
  }
  const { template, path, kind } = destination;
  const parts = parseTemplate(template);
  if ('problem' in parts) {
    return [{ path, at: 'value', offset: parts.offset, message: parts.problem, hint: parts.hint }];
  }
  const keyed = hasPlaceholder(template, 'table');
  const result: Finding[] = [];
  if (!keyed && hasPlaceholder(template, 'schema')) {
    result.push({
      path,
      at: 'value',
      offset: template.indexOf('{schema}'),
      message: '{schema} without {table}: one destination carries whole batches, of all schemas',
      hint: 'write {schema}.{table}, or leave {schema} out',
    });
  }
  if (!keyed && kind === 'kafka' && formatOf(stream).name === 'debezium') {
    result.push({
      path,
      at: 'value',
      message: 'format debezium needs {table} in the topic: its readers know no markers of batches',
      hint: `write e.g. ${DEFAULT_DEBEZIUM_TOPIC}`,
    });
  }
  const tables = streamTables(stream, set.tables);
  if (kind === 'kafka') {
    result.push(...topicFindings(destination, { set: set.data.name, tables }));
  }
  for (const conflict of destinationConflicts(template, { tables, kafka: kind === 'kafka' })) {
    result.push({
      path,
      at: 'value',
      message: `${formatTableName(conflict.first)} and ${formatTableName(conflict.second)} would have the same ${
        kind === 'kafka' ? 'topic' : kind === 'stomp' ? 'destination' : 'path'
      } ${conflict.destination}`,
      hint: hasPlaceholder(template, 'schema')
        ? 'part {schema} and {table} by - (Kafka takes . and _ for the same)'
        : 'add {schema} to the template',
    });
  }
  return result;
}

function topicFindings(
  destination: Destination,
  known: { readonly set: unknown; readonly tables: readonly QualifiedName[] },
): readonly Finding[] {
  const { template, path } = destination;
  const parts = parseTemplate(template);
  if ('problem' in parts) {
    return [];
  }
  for (const part of parts) {
    const at = part.kind === 'text' ? part.text.search(/[^a-zA-Z0-9._-]/) : -1;
    if (part.kind === 'text' && at >= 0) {
      const message = 'Kafka takes letters, digits, dots, underscores and hyphens only';
      return [{ path, at: 'value', offset: part.offset + at, message, hint: 'change the topic' }];
    }
  }
  if (variablesOf(template).length > 0) {
    return [];
  }
  const least = withoutVariables(template)
    .replaceAll('{cluster}', 'c')
    .replaceAll('{set}', typeof known.set === 'string' ? known.set : 's')
    .replaceAll('{node}', '0'.repeat(36));
  for (const table of hasPlaceholder(template, 'table') ? known.tables : [{ schema: 's', table: 't' }]) {
    const topic = table.table === '*' ? undefined : destinationOf(least, table)?.text;
    const problem = topic === undefined ? undefined : topicProblem(topic);
    if (problem !== undefined) {
      return [
        {
          path,
          at: 'value',
          message: `the topic of ${formatTableName(table)}: ${problem}`,
          hint: 'change the topic',
        },
      ];
    }
  }
  return [];
}

/** Two streams at one destination would mix their batches. */
function meetingStreams(streams: readonly Stream[], tables: Tables): readonly Finding[] {
  const seen = new Map<string, string>();
  return streams.flatMap((stream): readonly Finding[] => {
    const destination = destinationFor(stream);
    if (destination === undefined) {
      return [];
    }
    const keyed = hasPlaceholder(destination.template, 'table');
    const texts = keyed
      ? streamTables(stream, tables).map((table) => destinationOf(destination.template, table)?.text ?? '')
      : [destination.template];
    const places = [...new Set(texts)].map((text) =>
      JSON.stringify([destination.kind, destination.place, text]),
    );
    const other = places.map((place) => seen.get(place)).find((name) => name !== undefined);
    for (const place of places) {
      seen.set(place, stream.name);
    }
    return other === undefined
      ? []
      : [
          {
            path: destination.path,
            at: 'value',
            message: `streams ${other} and ${stream.name} would have the same destination`,
            hint: 'give each stream a destination of its own',
          },
        ];
  });
}
