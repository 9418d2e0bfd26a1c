/**
 * Where a stream's messages go: destination, partition and headers. A destination that names no table carries whole
 * batches between markers, all of a node in one partition; one that does is keyed by row, without markers.
 */
import { ConfigurationError } from '../errors.js';
import type { StreamConfiguration } from '../model/set-configuration.js';
import { hasPlaceholder, renderTemplate, renderTopic } from '../model/template.js';
import type { OutgoingMessage } from '../streams/publisher.js';
import type { EncodedMessage } from '../wire/shovel.js';
import type { KnownTable } from './captured-tables.js';
import { templateOf } from './stream-place.js';

export interface RouteOptions {
  readonly configuration: StreamConfiguration;
  readonly cluster: string;
  readonly set: string;
  readonly nodeId: string;
  /** The node's number in its set. */
  readonly nodeNumber: number;
  readonly incarnation: number;
  readonly epoch: bigint;
}

export interface Routes {
  /** Keyed by row: a destination for each table, no markers. */
  readonly keyed: boolean;
  /** `table` is undefined for markers; `seq` then is empty. */
  route(
    message: EncodedMessage,
    of: { readonly ticket: string; readonly seq: string; readonly table: KnownTable | undefined },
  ): OutgoingMessage;
}

/** @throws ConfigurationError `template_invalid`, `topic_invalid`, `format_not_supported` */
export function createRoutes(options: RouteOptions): Routes {
  const { configuration, cluster, set, nodeId, nodeNumber, incarnation } = options;
  if (configuration.format !== 'shovel') throw notSupported(options);
  const template = templateOf(configuration);
  const keyed = hasPlaceholder(template, 'table') || hasPlaceholder(template, 'schema');
  const render = (values: { readonly schema?: string; readonly table?: string }) => {
    const all = { cluster, set, node: nodeId, ...values };
    return configuration.kind === 'kafka' ? renderTopic(template, all) : renderTemplate(template, all);
  };
  const partitions = configuration.kind === 'kafka' ? configuration.partitions : 1;
  const whole = keyed ? undefined : { destination: render({}), partition: nodeNumber % partitions };
  const places = new Map<KnownTable, string>();
  const placeOf = (table: KnownTable | undefined): string => {
    if (table === undefined) return '';
    const known = places.get(table);
    if (known !== undefined) return known;
    const { schema, table: name } = table.captured;
    const place = render({ schema, table: name });
    places.set(table, place);
    return place;
  };
  const epoch = options.epoch.toString();
  const prefix = `${nodeId}/${incarnation}/`;
  return {
    keyed,
    route({ op, key, value }, { ticket, seq, table }) {
      const headers = { 'shovel-id': `${prefix}${ticket}/${seq}`, 'shovel-op': op, 'shovel-epoch': epoch };
      if (whole !== undefined) {
        return { destination: whole.destination, partition: whole.partition, key, value, headers };
      }
      return { destination: placeOf(table), partition: op === 't' ? 'all' : 'by-key', key, value, headers };
    },
  };
}

/** Anything else would be published in a form that nobody asked for. */
function notSupported({ configuration, set }: RouteOptions): ConfigurationError {
  return new ConfigurationError(
    'format_not_supported',
    `A stream of set ${set} asks for format ${configuration.format}, which this version of shovel does not publish.`,
    { hint: 'Use format shovel, or take the stream out of the set.' },
  );
}

/** Which tables a stream carries: all of the set, or those that it lists. `*` stands for all of a schema. */
export function carriesTable(configuration: StreamConfiguration, table: KnownTable): boolean {
  const { schema, table: name } = table.captured;
  return (
    configuration.tables?.some((one) => one.schema === schema && (one.table === '*' || one.table === name)) ??
    true
  );
}
