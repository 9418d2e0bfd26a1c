/**
 * Cuts a batch's messages into parts that a publisher takes at once. A mutation's messages stay together, markers go
 * with what stands beside them. Going on after a crash, messages that are out already are passed over by the number
 * of the last one, so it does not matter how they were cut then.
 */
import type { OutgoingMessage } from '../streams/publisher.js';

export interface Part {
  readonly messages: readonly OutgoingMessage[];
  /** From 1. */
  readonly part: number;
  /** The last mutation that is out with this part; 0 where none is. */
  readonly lastSeq: bigint;
}

export interface PartsOptions {
  readonly limits: { readonly messages: number; readonly bytes: number };
  /** What is out already: parts, and the last mutation in them. */
  readonly from?: { readonly part: number; readonly lastSeq: bigint } | undefined;
}

/** For headers and framing of a message; the publisher counts exactly. */
const OVERHEAD_BYTES = 160;

export class Parts {
  readonly #options: PartsOptions;
  #messages: OutgoingMessage[] = [];
  #bytes = 0;
  #part: number;
  #lastSeq: bigint;
  #passing: boolean;

  constructor(options: PartsOptions) {
    this.#options = options;
    this.#part = options.from?.part ?? 0;
    this.#lastSeq = options.from?.lastSeq ?? 0n;
    this.#passing = this.#lastSeq > 0n;
  }

  /** Whether messages that are out already are still being passed over. */
  get passing(): boolean {
    return this.#passing;
  }

  /** The begin marker: it is out as soon as anything is. */
  begin(message: OutgoingMessage): void {
    if (this.#options.from === undefined) this.#add(message);
  }

  /** The messages of one mutation. Returns the part before them where they don't fit into it. */
  mutation(messages: readonly OutgoingMessage[], seq: bigint): Part | undefined {
    if (this.#passing) {
      this.#passing = seq !== this.#options.from?.lastSeq;
      return undefined;
    }
    const { limits } = this.#options;
    const bytes = messages.reduce((sum, message) => sum + sizeOf(message), 0);
    const full =
      this.#messages.length > 0 &&
      (this.#messages.length + messages.length > limits.messages || this.#bytes + bytes > limits.bytes);
    const part = full ? this.#take() : undefined;
    for (const message of messages) this.#add(message);
    this.#lastSeq = seq;
    return part;
  }

  /** The last part; the end marker goes with it. */
  end(message: OutgoingMessage | undefined): Part {
    if (message !== undefined) this.#add(message);
    return this.#take();
  }

  #add(message: OutgoingMessage): void {
    this.#messages.push(message);
    this.#bytes += sizeOf(message);
  }

  #take(): Part {
    this.#part += 1;
    const part = { messages: this.#messages, part: this.#part, lastSeq: this.#lastSeq };
    this.#messages = [];
    this.#bytes = 0;
    return part;
  }
}

function sizeOf(message: OutgoingMessage): number {
  return (message.value?.length ?? 0) + (message.key?.length ?? 0) + OVERHEAD_BYTES;
}
