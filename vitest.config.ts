import { defineConfig } from 'vitest/config';

/** Project name → what it needs: see test/support/global-setup.ts. Order is the order of cost. */
const projects = ['unit', 'sql', 'contract', 'integration', 'e2e', 'faults'];

export default defineConfig({
  test: {
    projects: projects.map((name) => ({
      test: {
        name,
        include: [`test/${name}/**/*.test.ts`],
        testTimeout: 120_000,
        hookTimeout: 120_000,
        ...(name === 'unit' ? {} : { globalSetup: ['test/support/global-setup.ts'] }),
      },
    })),
    maxWorkers: 2,
  },
});
