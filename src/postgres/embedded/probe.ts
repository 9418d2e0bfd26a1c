/** Asks a PostgreSQL server whether it takes connections, by the first exchange of its protocol and nothing more. */

import { connect } from 'node:net';

export interface ProbeOptions {
  /** How long to wait for the answer. */
  readonly timeoutMs: number;
}

/**
 * True when the server at 127.0.0.1:`port` asks for a password or lets in; false when it refuses (starting up,
 * shutting down, full), is silent, or is not there. Never rejects.
 */
export function probePostgres(port: number, options: ProbeOptions): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const end = (answer: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => end(false), options.timeoutMs);
    socket.once('error', () => end(false));
    socket.once('close', () => end(false));
    socket.once('connect', () => socket.write(startupMessage()));
    // 'R' is an authentication request, which comes after the check that the server takes connections at all.
    socket.once('data', (data) => end(data[0] === 0x52));
  });
}

/** StartupMessage of protocol 3.0 (manual, "Message Formats"). */
function startupMessage(): Buffer {
  const body = Buffer.from('user\0postgres\0database\0postgres\0\0', 'latin1');
  const head = Buffer.alloc(8);
  head.writeInt32BE(8 + body.length, 0);
  head.writeInt32BE(0x00030000, 4);
  return Buffer.concat([head, body]);
}
