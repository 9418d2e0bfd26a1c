/** What a relay is told of the set that it publishes, and the names of what it touches in a node. */
import type { SetNode } from '../model/change-records.js';
import type { SetConfiguration } from '../model/set-configuration.js';
import { type NodeNames, nodeNames, quoteIdentifier } from '../postgres/sql-files.js';

/** A set as decided; what the coordinator holds of it. */
export interface RelaySet {
  readonly name: string;
  readonly version: number;
  readonly configuration: SetConfiguration;
  readonly nodes: readonly SetNode[];
}

export interface SegmentNames {
  /** What reads, locks or truncates it has the rows of `more` too, which inherits from it. */
  readonly log: string;
  readonly more: string;
  readonly ticket: string;
  readonly order: string;
}

/** Qualified names of a set's objects, ready to stand in SQL. */
export interface LogNames {
  readonly names: NodeNames;
  readonly set: string;
  /** The set and, where it is known, the database that this is in: for people. */
  readonly display: string;
  readonly schema: string;
  readonly seq: string;
  readonly switch: string;
  readonly log: string;
  readonly ticket: string;
  readonly order: string;
  readonly segment: string;
  readonly mark: string;
  readonly draw: string;
  readonly peek: string;
  readonly turn: string;
  readonly arm: string;
  /** 0 to 2. */
  readonly segments: readonly SegmentNames[];
}

export function logNames(cluster: string, set: string, database?: string): LogNames {
  const names = nodeNames(cluster);
  const schema = quoteIdentifier(names.schema);
  const own = (object: string) => `${schema}.${object}_${set}`;
  return {
    names,
    set,
    display: database === undefined ? set : `${set}, database ${database}`,
    schema,
    seq: own('seq'),
    switch: own('switch'),
    log: own('log'),
    ticket: own('ticket'),
    order: own('order'),
    segment: own('segment'),
    mark: own('mark'),
    draw: own('draw'),
    peek: own('peek'),
    turn: own('turn'),
    arm: own('arm'),
    segments: [0, 1, 2].map((k) => ({
      log: own(`log_${k}`),
      more: own(`more_${k}`),
      ticket: own(`ticket_${k}`),
      order: own(`order_${k}`),
    })),
  };
}
