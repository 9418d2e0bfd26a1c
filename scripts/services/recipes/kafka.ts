/** Kafka for tests: broker and controller in one process, quick to fence and to come back after a crash. */

import { existsSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UnreachableError } from '../../../src/errors.js';
import { runProgram } from '../../../src/postgres/embedded/launch.js';
import { probePort } from '../probe.js';
import { javaProgram, propertiesText } from './java-program.js';
import type { Recipe } from './recipe.js';

export interface KafkaParts {
  readonly java: string;
  readonly jars: string;
}

const CLUSTER_ID = 'c2hvdmVsLXNlcnZpY2VzMQ';

/** Ports: client, controller. */
export function kafkaRecipe({ java, jars }: KafkaParts): Recipe {
  return {
    plan: async (directory, { ports: [port = 0, controllerPort = 0], settings, signal }) => {
      const data = join(directory, 'data');
      const file = join(directory, 'server.properties');
      const configure = (logDirs: string) =>
        writeFile(file, propertiesText({ ...configuration({ port, controllerPort, logDirs }), ...settings }));
      if (!existsSync(data)) {
        const part = `${data}.part`;
        await rm(part, { recursive: true, force: true });
        await configure(part);
        const format = javaProgram(directory, {
          ...{ java, jars, heapMb: 128, main: 'kafka.tools.StorageTool' },
          args: ['format', '-t', CLUSTER_ID, '-c', file],
        });
        const outcome = await runProgram(format, { signal });
        signal?.throwIfAborted();
        if (outcome.code !== 0) {
          throw new UnreachableError(
            'service_not_started',
            `Kafka's storage could not be formatted: ${outcome.output.trim()}`,
            {
              hint: 'See that the disk is not full.',
            },
          );
        }
        await rename(part, data);
      }
      await configure(data);
      return [
        {
          name: 'member-1',
          program: javaProgram(directory, {
            ...{ java, jars, heapMb: 512 },
            main: 'kafka.Kafka',
            args: [file],
          }),
          log: join(directory, 'server.log'),
          probe: () => probePort('kafka', port),
        },
      ];
    },
  };
}

interface Configuration {
  readonly port: number;
  readonly controllerPort: number;
  readonly logDirs: string;
}

function configuration({ port, controllerPort, logDirs }: Configuration): Record<string, string> {
  return {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'log.dirs': logDirs,
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '1',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'transaction.state.log.num.partitions': '1',
    'group.initial.rebalance.delay.ms': '0',
    'auto.create.topics.enable': 'false',
    // After a crash the port opens again when the old session is over: 1.5 s instead of 11.
    'broker.session.timeout.ms': '500',
    'broker.heartbeat.interval.ms': '100',
  };
}
