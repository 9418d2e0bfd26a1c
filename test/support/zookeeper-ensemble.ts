/** A private ZooKeeper ensemble of three for fault tests, whose members are broken one by one. */

import net from 'node:net';
import { startEphemeral } from '../../scripts/services/index.js';

export interface EnsembleMember {
  readonly host: string;
  /** Of clients. */
  readonly port: number;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** SIGSTOP: its connections stay open and nothing answers. */
  freeze(): void;
  thaw(): void;
  /** Whether it is the leader now. */
  leads(): Promise<boolean>;
  /** Thawed, started again if it was killed; resolves when it serves. */
  serve(): Promise<void>;
}

export interface Ensemble {
  readonly members: readonly EnsembleMember[];
  stop(): Promise<void>;
}

export async function startEnsemble(): Promise<Ensemble> {
  const service = await startEphemeral('zk-ensemble');
  const members = service.servers.map((server) => ({
    host: '127.0.0.1',
    port: server.port,
    kill: () => server.kill(),
    freeze: () => server.pause(),
    thaw: () => server.resume(),
    leads: async () => (await askServer(server.port)).includes('Mode: leader'),
    serve: async () => {
      server.resume();
      await server.start();
    },
  }));
  return { members, stop: () => service.close() };
}

/** ZooKeeper's answer to `srvr`: some lines, then it closes the connection. */
function askServer(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: '127.0.0.1', port });
    let answer = '';
    socket.setTimeout(5_000, () => socket.destroy(new Error(`no answer from 127.0.0.1:${port}`)));
    socket.on('connect', () => socket.write('srvr'));
    socket.on('data', (data) => {
      answer += data.toString('utf8');
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
  });
}
