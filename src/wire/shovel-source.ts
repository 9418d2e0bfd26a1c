/** What every message of format `shovel` says of where it comes from, as constant pieces of text made once. */
import type { CapturedTable } from '../model/captured-table.js';

/** The message format's version, in every mutation: it changes when a reader must. */
const FORMAT_VERSION = '1.0.0';

/** What does not change while a relay owns the node. */
export interface SourceNode {
  readonly cluster: string;
  /** PostgreSQL's name of the database. */
  readonly db: string;
  readonly set: string;
  readonly nodeId: string;
  readonly incarnation: number;
}

/** What a batch's messages have in common. */
export interface SourceBatch extends SourceNode {
  /** Decimal. */
  readonly ticket: string;
  /** The ticket's time, milliseconds since the epoch, decimal. */
  readonly tsMs: string;
  /** The set's version at the ticket. */
  readonly setVersion: number;
}

/** `source` of a mutation, cut where its own values go in. */
export interface SourceText {
  /** `{"connector":…,"table":…,"ts_ms":` */
  readonly head: string;
  /** `,"snapshot":"false","txId":` */
  readonly beforeXid: string;
  /** `,"set":…,"set_version":` */
  readonly beforeVersion: string;
  /** `,"node":…,"ticket":…,"seq":"` */
  readonly beforeSeq: string;
}

export function sourceText(batch: SourceBatch, table: CapturedTable): SourceText {
  const text = JSON.stringify;
  const { cluster, db, set, nodeId, incarnation, ticket } = batch;
  return {
    head: `{"connector":"shovel","version":"${FORMAT_VERSION}","name":${text(cluster)},"db":${text(db)},"schema":${text(table.schema)},"table":${text(table.table)},"ts_ms":`,
    beforeXid: ',"snapshot":"false","txId":',
    beforeVersion: `,"set":${text(set)},"set_version":`,
    beforeSeq: `,"node":${text(nodeId)},"incarnation":${incarnation},"ticket":"${ticket}","seq":"`,
  };
}

/** `source` of a marker. */
export function markerSource(batch: SourceBatch): string {
  const { cluster, set, setVersion, nodeId, incarnation, ticket } = batch;
  const text = JSON.stringify;
  return `{"name":${text(cluster)},"set":${text(set)},"set_version":${setVersion},"node":${text(nodeId)},"incarnation":${incarnation},"ticket":"${ticket}"}`;
}
