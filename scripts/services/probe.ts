/** Whether a service serves, by one exchange of its own protocol. */

import { connect } from 'node:net';
import { probePostgres } from '../../src/postgres/embedded/probe.js';
import { portsPerMember, type Service, type ServiceKind } from './catalog.js';

/** A probe that a server does not answer in this time (because it was caught starting) is never answered. */
const PROBE_MS = 250;

/** False also when nothing listens or no answer comes within 250 ms. Never rejects. */
export function probePort(kind: ServiceKind, port: number): Promise<boolean> {
  switch (kind) {
    case 'postgres':
      return probePostgres(port, { timeoutMs: PROBE_MS });
    case 'zookeeper':
      // `srvr` needs no permission; `Mode:` comes only from a server that serves.
      return exchange({ port, question: 'srvr', accept: (answer) => answer.includes('Mode:') });
    case 'kafka':
      return exchange({ port, question: apiVersionsRequest(), accept: (answer) => answer.length > 4 });
    case 'stomp':
      return exchange({
        port,
        question: 'CONNECT\naccept-version:1.2\nhost:localhost\n\n\0',
        accept: (answer) => answer.startsWith('CONNECTED'),
      });
    case 'redis':
      return exchange({ port, question: 'PING\r\n', accept: (answer) => answer.startsWith('+PONG') });
  }
}

/** Whether all members answer. `ports` as in the state: member by member, client port first. */
export async function probeService(service: Service, ports: readonly number[]): Promise<boolean> {
  const each = portsPerMember(service);
  const clients = ports.filter((_, i) => i % each === 0);
  const answers = await Promise.all(clients.map((port) => probePort(service.kind, port)));
  return answers.length > 0 && answers.every(Boolean);
}

interface Exchange {
  readonly port: number;
  /** Sent as soon as connected. */
  readonly question: string | Uint8Array;
  /** Whether what has come so far is the answer. */
  readonly accept: (answer: string) => boolean;
}

function exchange({ port, question, accept }: Exchange): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    let answer = '';
    const end = (result: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => end(false), PROBE_MS);
    socket.once('connect', () => socket.write(question));
    socket.once('error', () => end(false));
    socket.once('close', () => end(false));
    socket.on('data', (data) => {
      answer += data.toString('latin1');
      if (accept(answer)) end(true);
    });
  });
}

/** ApiVersions, version 0, correlation 1, no client id (Kafka protocol guide, "Request header v1"). */
function apiVersionsRequest(): Uint8Array {
  return Uint8Array.of(0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff);
}
