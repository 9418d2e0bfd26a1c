/**
 * Does to one process of a service what fault tests need done: kill, stop, hang, wake, start again on the same ports
 * with the same data. Whose process it is (the site's or a test's own) is told by a holder.
 */

import { UnreachableError } from '../../src/errors.js';
import { endProcess, signalProcess, startOf, treeOf, until } from './processes.js';
import type { ServerPlan } from './recipes/recipe.js';
import { becomesReady, isAlive, launchPlan } from './server.js';
import type { ServerRecord } from './state.js';

export interface ServerControl {
  /** Where clients find it: `127.0.0.1:PORT`. */
  readonly address: string;
  readonly port: number;
  /** Of the process that runs now; 0 when none does. */
  pid(): number;
  /** SIGKILL; resolves when the process and its children are gone. */
  kill(): Promise<void>;
  /** Orderly; resolves when it is gone. */
  stop(): Promise<void>;
  /** SIGSTOP to it and its children: connections stay open and nothing answers. */
  pause(): void;
  /** SIGCONT to them. */
  resume(): void;
  /** Same ports, same data; resolves when it serves. Nothing happens when it runs. @throws UnreachableError */
  start(): Promise<void>;
  /** Stop, then start. */
  restart(): Promise<void>;
}

export interface ServerHolder {
  readonly port: number;
  /** The process that was launched last, dead or alive. */
  current(): ServerRecord | undefined;
  /** Writes down which process runs; `undefined`: none. */
  changed(record: ServerRecord | undefined): void;
  /** Configuration and command for another start. */
  plan(): Promise<ServerPlan>;
}

/** After this, children that outlive a killed server are killed too. */
const CHILDREN_WITHIN_MS = 5_000;

export function controlServer(holder: ServerHolder): ServerControl {
  const living = () => {
    const record = holder.current();
    return record !== undefined && isAlive(record) ? record : undefined;
  };
  const stop = async () => {
    const record = living();
    if (record !== undefined) await endProcess(record);
    holder.changed(undefined);
  };
  const start = async () => {
    if (living() !== undefined) return;
    const plan = await holder.plan();
    const record = await launchPlan(plan);
    holder.changed(record);
    if (await becomesReady(plan, { record })) return;
    throw new UnreachableError(
      'service_not_started',
      `the server on 127.0.0.1:${holder.port} did not start again`,
      {
        hint: `Its log is ${plan.log}`,
      },
    );
  };
  const signalAll = (signal: NodeJS.Signals) => {
    const record = living();
    if (record === undefined) return;
    signalProcess(record.pid, signal);
    for (const member of treeOf(record.pid)) signalProcess(member, signal);
  };
  return {
    address: `127.0.0.1:${holder.port}`,
    port: holder.port,
    pid: () => living()?.pid ?? 0,
    kill: async () => {
      const record = living();
      if (record !== undefined) await killTree(record);
      holder.changed(undefined);
    },
    stop,
    pause: () => signalAll('SIGSTOP'),
    resume: () => signalAll('SIGCONT'),
    start,
    restart: async () => {
      await stop();
      await start();
    },
  };
}

/** Kills the server alone; what a database's children do on their own then is part of the truth. */
async function killTree(record: ServerRecord): Promise<void> {
  const children = treeOf(record.pid)
    .slice(1)
    .map((pid) => ({ pid, started: startOf(pid) }));
  const gone = () => children.every(({ pid, started }) => started === undefined || startOf(pid) !== started);
  signalProcess(record.pid, 'SIGKILL');
  for (const child of children) signalProcess(child.pid, 'SIGCONT');
  await until(() => !isAlive(record) && gone(), CHILDREN_WITHIN_MS);
  for (const child of children) {
    if (child.started !== undefined && startOf(child.pid) === child.started)
      signalProcess(child.pid, 'SIGKILL');
  }
  await until(() => !isAlive(record) && gone(), CHILDREN_WITHIN_MS);
}
