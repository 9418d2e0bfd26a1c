/**
 * Where drawing and streams meet: the newest ticket, and whether it is the last one to publish. Drawing never waits
 * for a stream, and a stream never asks the database whether there is something new.
 */
import { type Ticket, ticketOf } from '../model/ticket.js';

export class TicketBoard {
  #newest: Ticket = ticketOf(0);
  #final: Ticket | undefined;
  readonly #waiting = new Set<() => void>();

  get newest(): Ticket {
    return this.#newest;
  }

  announce(ticket: Ticket): void {
    if (ticket <= this.#newest) return;
    this.#newest = ticket;
    this.#wake();
  }

  /** Streams end once they have published the newest ticket. */
  close(): void {
    this.#final = this.#newest;
    this.#wake();
  }

  /** Resolves with true when `ticket` was drawn, with false when it never will be or the signal aborts. */
  async waitFor(ticket: Ticket, signal: AbortSignal): Promise<boolean> {
    for (;;) {
      if (ticket <= this.#newest) return true;
      if (this.#final !== undefined || signal.aborted) return false;
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
