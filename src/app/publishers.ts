/**
 * From a stream's configuration to a publisher. Decides under which names a stream is known to its destination:
 * they hold cluster, set, node and stream, so that no two streams ever share a position, and a set that was dropped
 * and made again (new nodes) begins afresh.
 */
import { dirname, join } from 'node:path';
import { ConfigurationError } from '../errors.js';
import type {
  FileStreamConfiguration,
  KafkaStreamConfiguration,
  StreamConfiguration,
  TlsConfiguration,
} from '../model/set-configuration.js';
import { hasPlaceholder, renderTemplate, renderTopic } from '../model/template.js';
import type { Logger } from '../runtime/logger.js';
import type { Publisher } from '../streams/publisher.js';
import { pemText } from './read-pem.js';

/** Whose stream it is. */
export interface StreamIdentity {
  readonly cluster: string;
  readonly set: string;
  readonly nodeId: string;
  readonly stream: string;
}

export interface PublisherOptions extends StreamIdentity {
  /** All nodes of the set. A stream of the same name whose node is none of them was that of a set that was dropped. */
  readonly nodeIds: readonly string[];
  /** Its variables filled in. */
  readonly configuration: StreamConfiguration;
  /** Of one part; default: what suits the destination. */
  readonly limits?: Publisher['limits'] | undefined;
  readonly logger: Logger;
}

/**
 * Not started yet. Loads only what the stream needs.
 * @throws ConfigurationError `stream_not_supported`, `file_unreadable`, `topic_invalid`
 */
export async function createPublisher(options: PublisherOptions): Promise<Publisher> {
  const { configuration, stream } = options;
  switch (configuration.kind) {
    case 'kafka':
      return kafkaPublisher(configuration, options);
    case 'file':
      return filePublisher(configuration, options);
    case 'stomp':
      throw new ConfigurationError(
        'stream_not_supported',
        `Stream ${stream} of set ${options.set} goes to STOMP, which this version of shovel does not speak.`,
        { hint: 'Use kafka or file, or take the stream out of the set.' },
      );
  }
}

async function kafkaPublisher(
  configuration: KafkaStreamConfiguration,
  options: PublisherOptions,
): Promise<Publisher> {
  const { createKafkaPublisher } = await import('../streams/kafka/kafka-publisher.js');
  const { cluster, set, nodeId, stream, logger } = options;
  const name = `shovel.${cluster}.${set}.${nodeId}.${stream}`;
  const { brokers, compression, partitions, ssl, sasl } = configuration;
  return createKafkaPublisher({
    // One variable may stand for several brokers.
    brokers: brokers.flatMap((text) => text.split(',')),
    compression,
    partitions,
    ssl: typeof ssl === 'boolean' ? ssl : await tlsOptions(ssl),
    ...(sasl === undefined ? {} : { sasl }),
    ...limitsOf(options),
    transactionalId: name,
    positionGroup: name,
    positionTopic: positionTopic(configuration.topic, options),
    logger,
  });
}

/** The stream's own topic; where it has one for each table, a topic beside them. */
function positionTopic(template: string, identity: StreamIdentity): string {
  const { cluster, set, nodeId } = identity;
  return perTable(template)
    ? `shovel.${cluster}.${set}.positions`
    : renderTopic(template, { cluster, set, node: nodeId });
}

async function filePublisher(
  configuration: FileStreamConfiguration,
  options: PublisherOptions,
): Promise<Publisher> {
  const { createFilePublisher } = await import('../streams/file/file-publisher.js');
  const { cluster, set, nodeId, nodeIds, stream, logger } = options;
  const { path: template } = configuration;
  const ownerOf = (node: string) => `${cluster}/${set}/${node}/${stream}`;
  const owner = ownerOf(nodeId);
  const isRetired = (other: string) => {
    const node = other.split('/')[2] ?? '';
    return other === ownerOf(node) && node !== nodeId && !nodeIds.includes(node);
  };
  if (!perTable(template)) {
    const path = renderTemplate(template, { cluster, set, node: nodeId });
    return createFilePublisher({ path, stream: owner, isRetired, ...limitsOf(options), logger });
  }
  const fixed = template.slice(0, template.search(/\{(?:schema|table)\}/));
  const directory = dirname(`${renderTemplate(fixed, { cluster, set, node: nodeId })}x`);
  return createFilePublisher({
    path: template,
    stateBase: join(directory, `shovel-${set}-${nodeId}-${stream}`),
    stream: owner,
    isRetired,
    ...limitsOf(options),
    logger,
  });
}

function limitsOf({ limits }: PublisherOptions): Partial<Pick<Publisher, 'limits'>> {
  return limits === undefined ? {} : { limits };
}

function perTable(template: string): boolean {
  return hasPlaceholder(template, 'table') || hasPlaceholder(template, 'schema');
}

async function tlsOptions(tls: TlsConfiguration): Promise<Readonly<Record<string, unknown>>> {
  const { ca, cert, key, ...rest } = tls;
  const texts: Record<string, string> = {};
  for (const [name, value] of Object.entries({ ca, cert, key })) {
    if (value !== undefined) texts[name] = await pemText(value);
  }
  return { ...rest, ...texts };
}
