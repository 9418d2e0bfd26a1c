import { defineConfig } from 'vitest/config';

/** Order is the order of cost. All but the first need servers: test/support/global-setup.ts. */
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
    maxWorkers: 2,
  },
});
