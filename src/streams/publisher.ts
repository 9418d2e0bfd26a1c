/**
 * The port to a stream's destination. The relay hands over finished messages together with the position that is
 * true once they are there; an implementation makes both one where its broker can (Kafka, file), and otherwise
 * promises at-least-once with identical bytes (STOMP, stdout).
 */

/** A finished message. Bytes are final: a repeat sends the same. */
export interface OutgoingMessage {
  /** Where it goes: topic, queue or path, templates filled in. */
  readonly destination: string;
  /** `by-key`: the implementation hashes the key; `all`: to every partition; a number: exactly that one. */
  readonly partition: number | 'by-key' | 'all';
  /** JSON text of the key; null where the table has none, or for markers. */
  readonly key: string | null;
  /** JSON text; null is a tombstone. */
  readonly value: string | null;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * How far a stream is. `complete` means that the batch of `ticket` is out as a whole; otherwise its parts up to
 * `part`, whose last mutation was `lastSeq`.
 */
export interface StreamPosition {
  readonly incarnation: number;
  readonly ticket: bigint;
  /** sha256 (hex) of the ticket's snapshot text: tells a lost tail or a copy from the same history. */
  readonly snapshotHash: string;
  readonly complete: boolean;
  readonly part: number;
  readonly lastSeq: bigint;
  readonly epoch: bigint;
}

export interface Publisher {
  /** For people: kind and address, without credentials. */
  readonly display: string;
  /** The most messages and bytes that `publish` takes at once; the relay cuts batches into parts by it. */
  readonly limits: { readonly messages: number; readonly bytes: number };

  /**
   * Connects, shuts out whoever published for this stream before, and returns the position that the destination
   * holds, read after that; undefined where it holds none. Called again after any error of `publish`.
   * @throws UnreachableError, FencedError, ConfigurationError, IntegrityError
   */
  start(): Promise<StreamPosition | undefined>;
  /**
   * Publishes in order and moves the position, as one where possible. After any error the outcome is unknown:
   * `stop`, `start`, and go on from the position that it returns.
   */
  publish(messages: readonly OutgoingMessage[], position: StreamPosition): Promise<void>;
  /** Waits for what is under way, at most some seconds; may be called twice or before start. */
  stop(): Promise<void>;
}
