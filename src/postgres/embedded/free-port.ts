/**
 * Chooses TCP ports on 127.0.0.1 by trying to listen on them. The range lies below the one that the kernel takes
 * for outgoing connections, so nothing but another server can come in between the trial and the use; a caller whose
 * server finds the port taken all the same asks again.
 */

import { createServer } from 'node:net';
import { UnreachableError } from '../../errors.js';

/** First and last port that are given out. */
export const PORT_RANGE = { first: 20_000, last: 30_999 } as const;

export interface FreePortOptions {
  /** Where to begin, any integer ≥ 0: the same start finds the same ports as long as they are free. */
  readonly start: number;
  /** Ports that were given out already. */
  readonly taken?: ReadonlySet<number>;
}

/** The ports of the range, each once, beginning at `start` modulo its size. */
export function* portSequence(start: number): Generator<number> {
  const size = PORT_RANGE.last - PORT_RANGE.first + 1;
  for (let i = 0; i < size; i += 1) yield PORT_RANGE.first + ((start + i) % size);
}

/** Whether something could listen on 127.0.0.1:`port` just now. */
export function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/**
 * `count` different free ports.
 * @throws UnreachableError `no_free_port`
 */
export async function findFreePorts(count: number, options: FreePortOptions): Promise<number[]> {
  const found: number[] = [];
  for (const port of portSequence(options.start)) {
    if (found.length === count) break;
    if (options.taken?.has(port) === true) continue;
    if (await isPortFree(port)) found.push(port);
  }
  if (found.length < count) {
    throw new UnreachableError(
      'no_free_port',
      `no free port on 127.0.0.1 between ${PORT_RANGE.first} and ${PORT_RANGE.last}`,
      { hint: 'Stop servers that are no longer needed.' },
    );
  }
  return found;
}
