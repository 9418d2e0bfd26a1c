/**
 * Where drawing and streams meet: the newest ticket, and whether it is the last one to publish. Drawing never waits
 * for a stream, and a stream never asks the database whether there is something new.
 */
import type { ShovelError } from '../errors.js';
import { type Ticket, ticketOf } from '../model/ticket.js';

export class TicketBoard {
  #newest: Ticket = ticketOf(0);
  #final: Ticket | undefined;
  #ended: ShovelError | undefined;
  readonly #waiting = new Set<() => void>();

  get newest(): Ticket {
    return this.#newest;
  }

  announce(ticket: Ticket): void {
    if (ticket <= this.#newest) return;
    this.#newest = ticket;
    this.#wake();
  }

  /** Streams end once they have published the newest ticket: with the error, where there is one. */
  close(error?: ShovelError): void {
    this.#final = this.#newest;
    this.#ended ??= error;
    this.#wake();
  }

  /** Why there will be no more tickets. */
  get ended(): ShovelError | undefined {
    return this.#ended;
  }

  /**
   * Resolves with true when `ticket` was drawn, with false when it never will be or the signal aborts.
   * @throws the error that the board was closed with
   */
  async waitFor(ticket: Ticket, signal: AbortSignal): Promise<boolean> {
    for (;;) {
      if (ticket <= this.#newest) return true;
      if (signal.aborted) return false;
      if (this.#ended !== undefined) throw this.#ended;
      if (this.#final !== undefined) return false;
      await this.#change(signal);
    }
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiting.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#waiting.add(done);
      signal.addEventListener('abort', done);
    });
  }

  #wake(): void {
    for (const done of [...this.#waiting]) done();
  }
}
