/**
 * Before the first test of a project that needs servers: what the TEST_* variables do not name is started, for as
 * long as the run lasts, and its addresses are put where the workers find them. Runs once per project in one process;
 * the second time everything is there.
 */

import type { TestProject } from 'vitest/node';
import { DEFAULT_SERVICES, findService } from '../../scripts/services/catalog.js';
import { ensureServices, releaseServices } from '../../scripts/services/index.js';
import { ShovelError } from '../../src/errors.js';

declare module 'vitest' {
  export interface ProvidedContext {
    /** TEST_* variables of the services that every run has. */
    readonly services: Readonly<Record<string, string>>;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const variables = DEFAULT_SERVICES.map((name) => ({ name, variable: findService(name)?.variable ?? '' }));
  const missing = variables
    .filter(({ variable }) => (process.env[variable] ?? '') === '')
    .map(({ name }) => name);
  // Also with nothing missing: whoever has a lease stops, at the end, what a test has asked for in between.
  Object.assign(process.env, await start(missing));
  project.provide(
    'services',
    Object.fromEntries(variables.map(({ variable }) => [variable, process.env[variable] ?? ''])),
  );
  // A database that a failed test kept can be looked at after the next `up`.
  return () => releaseServices({ keep: project.vitest.state.getCountOfFailedTests() > 0 });
}

async function start(names: readonly string[]): Promise<Record<string, string>> {
  try {
    return await ensureServices(names);
  } catch (error) {
    if (!(error instanceof ShovelError)) throw error;
    throw new Error(
      `${error.message}\n${error.hint}\nTo start it by hand: npm run -s services -- up ${names.join(' ')}`,
      {
        cause: error,
      },
    );
  }
}
