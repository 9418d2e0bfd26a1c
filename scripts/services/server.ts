/** One process of a service: launching it, waiting until it serves, and seeing why it does not. */

import { setTimeout as delay } from 'node:timers/promises';
import { UnreachableError } from '../../src/errors.js';
import { lastLines, launchServer } from '../../src/postgres/embedded/launch.js';
import { startOf } from './processes.js';
import type { ServerPlan } from './recipes/recipe.js';
import type { ServerRecord } from './state.js';

const READY_WITHIN_MS = 60_000;

/**
 * Starts the process; it need not serve yet.
 * @throws UnreachableError `service_not_started`
 */
export function launchPlan(plan: ServerPlan): Promise<ServerRecord> {
  return new Promise((resolve, reject) => {
    const child = launchServer(plan.program, plan.log);
    child.once('error', (cause) =>
      reject(
        new UnreachableError(
          'service_not_started',
          `${plan.program.command} could not be started: ${cause.message}`,
          {
            hint: 'See that the program is there and may be run.',
            cause,
          },
        ),
      ),
    );
    child.once('spawn', () => {
      const pid = child.pid ?? 0;
      resolve({ name: plan.name, pid, started: startOf(pid) ?? 'gone' });
    });
  });
}

export interface WaitOptions {
  readonly record: ServerRecord;
  readonly signal?: AbortSignal | undefined;
}

/** True when it serves; false when it has ended, a minute is over or the signal has aborted. */
export async function becomesReady(plan: ServerPlan, { record, signal }: WaitOptions): Promise<boolean> {
  const deadline = Date.now() + READY_WITHIN_MS;
  while (Date.now() < deadline && signal?.aborted !== true) {
    if (!isAlive(record)) return false;
    if (await plan.probe()) return isAlive(record);
    await delay(25);
  }
  return false;
}

export function isAlive(record: ServerRecord): boolean {
  return startOf(record.pid) === record.started;
}

/** What the log tells about a start that failed. */
export function diagnose(plan: ServerPlan): { readonly lines: string[]; readonly worthAnotherTry: boolean } {
  const lines = lastLines(plan.log, 12);
  return {
    lines,
    worthAnotherTry: lines.some((line) =>
      /in use|could not bind|BindException|shared memory block/i.test(line),
    ),
  };
}
