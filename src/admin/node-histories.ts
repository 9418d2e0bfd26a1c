/**
 * What the databases of a cluster know of its sets, as far as they can be found: each document names databases, which
 * are asked in turn. Reads only.
 */
import { decodeDocument, type SetDocument } from '../model/change-records.js';
import { type AdminContext, namesOf } from './context.js';
import { readDocuments } from './node-rows.js';
import type { NodeSessions } from './node-sessions.js';

export interface StoredDocument {
  readonly document: SetDocument;
  /** As it stands in the node: its hash is over this text. */
  readonly text: string;
}

/** One set that some node holds. */
export interface NodeHistory {
  readonly set: string;
  readonly newest: StoredDocument;
  /** All that is known of it, oldest first, the newest included; numbers may be missing. */
  readonly versions: readonly StoredDocument[];
}

export interface Place {
  readonly database: string;
  readonly dsn: string;
}

/** @throws UnreachableError: a database that can't be asked may hold a newer version; IntegrityError `record_damaged` */
export async function readHistories(
  context: AdminContext,
  { sessions, places }: { sessions: NodeSessions; places: readonly Place[] },
): Promise<readonly NodeHistory[]> {
  const found = new Map<string, Map<number, StoredDocument>>();
  const asked = new Set<string>();
  const queue = [...places];
  for (let place = queue.shift(); place !== undefined; place = queue.shift()) {
    if (asked.has(place.dsn)) continue;
    asked.add(place.dsn);
    const connection = await sessions.connection(place);
    const present = new Map<string, SetDocument>();
    for (const { set, document: text } of await readDocuments(connection, { names: namesOf(context) })) {
      const document = decodeDocument(text, `set ${set} in database ${place.database}`);
      const versions = found.get(set) ?? new Map<number, StoredDocument>();
      if (!versions.has(document.version)) versions.set(document.version, { document, text });
      found.set(set, versions);
      present.set(set, document);
    }
    // Of each set the present one comes last. Databases that older versions named may be gone.
    for (const { configuration } of present.values()) {
      for (const [database, { dsn }] of Object.entries(configuration.databases))
        queue.push({ database, dsn });
    }
  }
  const histories: NodeHistory[] = [];
  for (const [set, byVersion] of found) {
    const versions = [...byVersion.values()].toSorted((a, b) => a.document.version - b.document.version);
    const newest = versions.at(-1);
    if (newest) histories.push({ set, newest, versions });
  }
  return histories;
}
