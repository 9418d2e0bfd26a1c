/** Redis for tests: in memory only. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { probePort } from '../probe.js';
import type { Recipe } from './recipe.js';

export function redisRecipe(program: string): Recipe {
  return {
    plan: async (directory, { ports: [port = 0], settings }) => {
      const file = join(directory, 'redis.conf');
      const lines = {
        port: String(port),
        bind: '127.0.0.1',
        save: '""',
        appendonly: 'no',
        daemonize: 'no',
        dir: directory,
        // Otherwise it would overwrite its arguments, and with them the mark that tells whose it is.
        'set-proc-title': 'no',
        ...settings,
      };
      await writeFile(
        file,
        Object.entries(lines)
          .map(([name, value]) => `${name} ${value}\n`)
          .join(''),
      );
      return [
        {
          name: 'member-1',
          program: { command: program, args: [file], directory },
          log: join(directory, 'server.log'),
          probe: () => probePort('redis', port),
        },
      ];
    },
  };
}
