/** ZooKeeper for tests: one server, or an ensemble whose members know each other by ports of their own. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { probePort } from '../probe.js';
import { openFolder } from '../site.js';
import { javaProgram, propertiesText } from './java-program.js';
import type { Recipe, ServerPlan } from './recipe.js';

export interface ZooKeeperParts {
  readonly java: string;
  readonly jars: string;
  readonly members: number;
}

/** Ports, member by member: client; in an ensemble also quorum and election. */
export function zookeeperRecipe({ java, jars, members }: ZooKeeperParts): Recipe {
  return {
    plan: async (directory, { ports, settings }) => {
      const each = members > 1 ? 3 : 1;
      const peers: Record<string, string> = {};
      for (let i = 0; i < members && members > 1; i += 1) {
        peers[`server.${i + 1}`] = `127.0.0.1:${ports[i * each + 1]}:${ports[i * each + 2]}`;
      }
      const plans: ServerPlan[] = [];
      for (let i = 0; i < members; i += 1) {
        const port = ports[i * each] ?? 0;
        const folder = openFolder(join(directory, `member-${i + 1}`));
        const data = openFolder(join(folder, 'data'));
        const file = join(folder, 'zoo.cfg');
        await writeFile(file, propertiesText({ ...configuration(data, port), ...peers, ...settings }));
        await writeFile(join(data, 'myid'), `${i + 1}\n`);
        plans.push({
          name: `member-${i + 1}`,
          program: javaProgram(folder, {
            ...{ java, jars, heapMb: 96 },
            properties: { 'zookeeper.forceSync': 'no' },
            main: 'org.apache.zookeeper.server.quorum.QuorumPeerMain',
            args: [file],
          }),
          log: join(folder, 'server.log'),
          probe: () => probePort('zookeeper', port),
        });
      }
      return plans;
    },
  };
}

function configuration(dataDir: string, port: number): Record<string, string> {
  return {
    tickTime: '500',
    initLimit: '10',
    syncLimit: '4',
    dataDir,
    clientPort: String(port),
    clientPortAddress: '127.0.0.1',
    'admin.enableServer': 'false',
    maxClientCnxns: '0',
    minSessionTimeout: '1000',
    maxSessionTimeout: '60000',
  };
}
