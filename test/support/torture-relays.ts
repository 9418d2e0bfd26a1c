/**
 * Relays of a cluster in processes of their own, which can be killed, stopped for a while and cut off from their
 * coordinator. Run as a program it relays what its argument says until it is ended.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { runRelays } from '../../src/app/run-relays.js';
import { parseCoordinatorAddress } from '../../src/coordinator/coordinator-url.js';
import { ShovelError } from '../../src/errors.js';
import type { RelayTuning } from '../../src/relay/relay-options.js';
import { createLogger } from '../../src/runtime/logger.js';
import { zooKeeperTarget } from './coordinators.js';
import { startTcpProxy, type TcpProxy } from './tcp-proxy.js';

export interface RelayJob {
  readonly cluster: string;
  readonly once: boolean;
  /** This one alone. */
  readonly database?: string;
  readonly tuning: RelayTuning;
  /** Of a part of a batch. */
  readonly partLimits: { readonly messages: number; readonly bytes: number };
}

/** A place for a relay: one process at a time, each with the same way to the coordinator. */
export class RelayPlace {
  readonly proxy: TcpProxy;
  readonly log: string;
  readonly #job: RelayJob;
  #child: ChildProcess | undefined;
  #exited: Promise<number | NodeJS.Signals> | undefined;
  #asleep = false;

  private constructor(proxy: TcpProxy, { job, log }: { readonly job: RelayJob; readonly log: string }) {
    this.proxy = proxy;
    this.log = log;
    this.#job = job;
  }

  static async open(options: { readonly job: RelayJob; readonly log: string }): Promise<RelayPlace> {
    return new RelayPlace(await startTcpProxy(zooKeeperTarget()), options);
  }

  start(): void {
    const out = openSync(this.log, 'a');
    const hosts = `${this.proxy.host}:${this.proxy.port}`;
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', fileURLToPath(import.meta.url), JSON.stringify({ ...this.#job, hosts })],
      { stdio: ['ignore', out, out] },
    );
    closeSync(out);
    this.#child = child;
    this.#asleep = false;
    this.#exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve(signal ?? code ?? 1));
    });
  }

  /** What it ended with by itself; undefined while it runs. */
  get ended(): string | undefined {
    const { exitCode, signalCode } = this.#child ?? {};
    if (exitCode === null && signalCode === null) return undefined;
    return `exit ${exitCode ?? signalCode}, ${readFileSync(this.log, 'utf8').trimEnd().split('\n').at(-1)}`;
  }

  /** SIGKILL, and gone. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#exited;
  }

  sleep(): void {
    this.#asleep = this.#child?.kill('SIGSTOP') ?? false;
  }

  wake(): void {
    if (this.#asleep) this.#child?.kill('SIGCONT');
    this.#asleep = false;
  }

  /** SIGTERM; what it ended with. */
  async stop(): Promise<number | NodeJS.Signals> {
    this.wake();
    this.#child?.kill('SIGTERM');
    return this.done();
  }

  async done(): Promise<number | NodeJS.Signals> {
    return (await this.#exited) ?? 0;
  }

  async close(): Promise<void> {
    this.wake();
    await this.kill();
    await this.proxy.close();
  }
}

async function main({
  cluster,
  once,
  database,
  tuning,
  partLimits,
  hosts,
}: RelayJob & { readonly hosts: string }): Promise<void> {
  const stopping = new AbortController();
  process.once('SIGTERM', () => stopping.abort());
  const logger = createLogger({ level: 'info', format: 'json' });
  try {
    await runRelays(
      {
        cluster,
        coordinator: parseCoordinatorAddress({ zookeeperHosts: hosts, coordinator: undefined }),
        lockTimeoutMs: 40,
        leaseTimeMs: 2000,
        variables: {},
        logger,
        signal: stopping.signal,
      },
      {
        ...{ sets: ['example'], once, tuning, partLimits },
        ...(database === undefined ? {} : { database }),
      },
    );
  } catch (error) {
    process.stderr.write(
      `${error instanceof ShovelError ? `${error.code}: ${error.message}` : String(error)}\n`,
    );
    process.exitCode = error instanceof ShovelError ? error.exitCode : 1;
  }
}

const [, program, argument] = process.argv;
if (program === fileURLToPath(import.meta.url) && argument !== undefined) {
  await main(JSON.parse(argument) as RelayJob & { readonly hosts: string });
}
