/**
 * What the coordinator and the nodes hold about a set, and how it is written: the set's record (which version is
 * decided), one document per version, and the intents of changes under way. What comes back from a store is checked.
 */
import { z } from 'zod';
import { IntegrityError } from '../errors.js';
import { canonicalJson, type JsonValue } from './canonical-json.js';
import type { SetConfiguration } from './set-configuration.js';
import { decodeConfiguration, encodeConfiguration } from './set-file-stored.js';

const nodeSchema = z.strictObject({
  database: z.string(),
  nodeId: z.uuid(),
  incarnation: z.int().min(1),
  /** Its number in the set: fixed when it joins, unique among the set's nodes, from 0. */
  number: z.int().min(0),
});
/** A database of a set, as decided. */
export type SetNode = Readonly<z.infer<typeof nodeSchema>>;

const stateSchema = z.enum(['live', 'dropped']);

const recordSchema = z.strictObject({
  version: z.int().min(1),
  /** The change that made this version: what nodes are compared by. */
  intent: z.uuid(),
  /** sha256 (hex) of the canonical configuration. */
  hash: z.string(),
  state: stateSchema,
  nodes: z.array(nodeSchema),
  /** ISO 8601, when the set was created under this name. */
  createdAt: z.string(),
  decidedAt: z.string(),
});
/** `/shovel/<cluster>/sets/<name>`: the decision. */
export type SetRecord = Readonly<z.infer<typeof recordSchema>>;

const documentSchema = z.strictObject({
  schema: z.literal(1),
  cluster: z.string(),
  /** Tells clusters of the same name in different coordinators apart. */
  clusterId: z.string(),
  set: z.string(),
  version: z.int().min(1),
  intent: z.uuid(),
  hash: z.string(),
  state: stateSchema,
  nodes: z.array(nodeSchema),
  createdAt: z.string(),
  decidedAt: z.string(),
  configuration: z.unknown(),
});

/** One version with everything that belongs to it: the same text in the coordinator and in every node. */
export interface SetDocument extends SetRecord {
  readonly schema: 1;
  readonly cluster: string;
  readonly clusterId: string;
  readonly set: string;
  readonly configuration: SetConfiguration;
}

const changeNodeSchema = z.strictObject({
  ...nodeSchema.shape,
  role: z.enum(['join', 'stay', 'leave', 'adopt']),
  /** As in the set file: may hold `${NAME}`. */
  dsn: z.string(),
});
/** A node's part in a change: it enters the set, has a new version, leaves, or goes on as a new incarnation. */
export type ChangeNode = Readonly<z.infer<typeof changeNodeSchema>>;

const intentSchema = z.strictObject({
  schema: z.literal(1),
  intent: z.uuid(),
  set: z.string(),
  /** begun: nodes may hold rows and ground of it; open: it may be prepared. Each is set once, in this order. */
  state: z.enum(['begun', 'open', 'decided', 'aborted']),
  /** What the nodes that stay or leave are at; null where the set is new. */
  base: z.strictObject({ version: z.int().min(1), intent: z.uuid() }).nullable(),
  to: z.int().min(1),
  nodes: z.array(changeNodeSchema),
  /** Who began it: `host:pid`. */
  owner: z.string(),
  startedAt: z.string(),
  /** Text of the document it would make true. */
  document: z.string(),
});
/** `/shovel/<cluster>/intents/<uuid>`: a change that was begun and not yet cleaned up. */
export type Intent = Readonly<z.infer<typeof intentSchema>>;

// What a later release adds is no damage to this one.
const clusterSchema = z.object({
  schema: z.literal(1),
  id: z.string(),
  createdAt: z.string(),
  /** The newest release that all databases of the cluster were brought to. */
  release: z.string().optional(),
  /** The oldest release that can work with the cluster since then. */
  minimumRelease: z.string().optional(),
});
export type ClusterRecord = Readonly<z.infer<typeof clusterSchema>>;

export function encodeRecord(record: SetRecord): string {
  return canonicalJson(record);
}

export function encodeIntent(intent: Intent): string {
  return canonicalJson(intent);
}

export function encodeCluster(cluster: ClusterRecord): string {
  return canonicalJson(cluster);
}

/** Members sorted, the configuration in its own canonical form (databases keep their order). */
export function encodeDocument(document: SetDocument): string {
  const { configuration, ...rest } = document;
  const members: readonly (readonly [string, string])[] = [
    ...Object.entries(rest).map(([name, value]) => [name, canonicalJson(value as JsonValue)] as const),
    ['configuration', encodeConfiguration(configuration)],
  ];
  const sorted = members.toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${sorted.map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(',')}}`;
}

/** `what` names the entry for people. @throws IntegrityError `record_damaged` */
export function decodeRecord(text: string, what: string): SetRecord {
  return decode(recordSchema, text, what);
}

/** @throws IntegrityError `record_damaged` */
export function decodeIntent(text: string, what: string): Intent {
  return decode(intentSchema, text, what);
}

/** @throws IntegrityError `record_damaged` */
export function decodeCluster(text: string, what: string): ClusterRecord {
  return decode(clusterSchema, text, what);
}

/** @throws IntegrityError `record_damaged`, `configuration_damaged` */
export function decodeDocument(text: string, what: string): SetDocument {
  const { configuration, ...rest } = decode(documentSchema, text, what);
  return { ...rest, configuration: decodeConfiguration(JSON.stringify(configuration)) };
}

/** The part of a document that the set's record holds. */
export function recordOf(document: SetDocument): SetRecord {
  const { version, intent, hash, state, nodes, createdAt, decidedAt } = document;
  return { version, intent, hash, state, nodes, createdAt, decidedAt };
}

function decode<T>(schema: z.ZodType<T>, text: string, what: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw damaged(what, cause);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw damaged(what, parsed.error);
  return parsed.data;
}

function damaged(what: string, cause: unknown): IntegrityError {
  return new IntegrityError('record_damaged', `${what} can't be read: it is not what shovel writes there.`, {
    hint: 'Use the release that wrote it, or restore it: shovel cluster recover --from-nodes.',
    cause,
  });
}
