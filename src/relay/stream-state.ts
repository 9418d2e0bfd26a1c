/** What is told of a stream while it is relayed. */
import type { ShovelError } from '../errors.js';

export type StreamStateName =
  /** Connecting, or reading where it was. */
  | 'starting'
  /** Publishing, or waiting for a ticket. */
  | 'running'
  /** Trying again after an error. */
  | 'retrying'
  /** An error that trying again can't mend. */
  | 'failed'
  | 'stopped';

export interface StreamStats {
  readonly set: string;
  readonly database: string;
  readonly stream: string;
  readonly state: StreamStateName;
  /** The newest ticket that is out as a whole. */
  readonly ticket: bigint;
  /** Why it is retrying or failed. */
  readonly error: ShovelError | undefined;
  /** Published by this process, markers included; bytes are characters of keys and values. */
  readonly messages: number;
  readonly bytes: number;
}
