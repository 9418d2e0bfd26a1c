/**
 * Publishes to standard output, a message's value a line, at least once: what a reader has taken from a pipe can't be
 * known, so the position is the relay's to keep. Waits until the system has taken each piece, and so never gathers
 * more than one publish in memory while the reader is slow.
 */

import type { Writable } from 'node:stream';
import type { OutgoingMessage, Publisher, StreamPosition } from '../publisher.js';
import { Turns } from '../turns.js';
import { translateStdoutError } from './file-errors.js';

const STOP_WITHIN_MS = 5000;

export interface StdoutPublisherOptions {
  readonly limits?: Publisher['limits'];
  /** Default: the process's standard output, which `stop` leaves open. */
  readonly stdout?: Writable;
}

const DEFAULT_LIMITS = { messages: 1000, bytes: 1024 * 1024 };

export function createStdoutPublisher(options: StdoutPublisherOptions): Publisher {
  return new StdoutPublisher(options);
}

class StdoutPublisher implements Publisher {
  readonly display = 'stdout';
  readonly limits: Publisher['limits'];
  readonly #stdout: Writable;
  #failure: unknown;
  readonly #turns = new Turns();
  readonly #failed = (error: unknown): void => {
    this.#failure ??= error;
  };

  constructor(options: StdoutPublisherOptions) {
    this.#stdout = options.stdout ?? process.stdout;
    this.limits = options.limits ?? DEFAULT_LIMITS;
  }

  /** Nothing is known of what was read before. */
  async start(): Promise<undefined> {
    this.#stdout.off('error', this.#failed);
    this.#stdout.on('error', this.#failed);
    return undefined;
  }

  /** @throws RefusedError `stdout_closed` when the reader is gone. */
  publish(messages: readonly OutgoingMessage[], _position: StreamPosition): Promise<void> {
    const text = messages.map(({ value }) => `${value ?? 'null'}\n`).join('');
    return this.#turns.take(() => this.#write(text));
  }

  /** The listener stays: an error that comes late must not end the process. */
  async stop(): Promise<void> {
    await this.#turns.idle(STOP_WITHIN_MS);
  }

  #write(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) reject(translateStdoutError(this.#failure));
      else if (text === '') resolve();
      else {
        this.#stdout.write(text, (error) => {
          if (error) reject(translateStdoutError(error));
          else resolve();
        });
      }
    });
  }
}
