import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/support/longest-first.js';

/** All but the first need servers: test/support/global-setup.ts. */
const projects = ['unit', 'sql', 'contract', 'integration', 'e2e', 'faults'];

export default defineConfig({
  test: {
    projects: projects.map((name) => ({
      test: {
        name,
        include: [`test/${name}/**/*.test.ts`],
        testTimeout: 120_000,
        hookTimeout: 120_000,
        globalSetup: [
          'test/support/global-folder.ts',
          ...(name === 'unit' ? [] : ['test/support/global-setup.ts']),
        ],
      },
    })),
    // One more than there are cores, since a test waits for servers and processes most of its time; no more than the
    // servers that all of them share have connections for.
    maxWorkers: Math.min(availableParallelism() + 1, 4),
    sequence: { sequencer: LongestFirst },
  },
});
