/**
 * Instructions that a backend executes, counted by valgrind: the same each time to within a hundredth, whatever else the
 * machine does. They are no microseconds: what waits for memory or the kernel counts too little.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { ConfigurationError } from '../../src/errors.js';
import { serverAccount } from '../../src/postgres/embedded/account.js';
import { PROGRAMS } from './bench-server.js';

const VALGRIND = '/usr/bin/valgrind';

/** @throws ConfigurationError `bench_packages_missing` */
export function requireValgrind(): void {
  if (existsSync(VALGRIND)) return;
  throw new ConfigurationError('bench_packages_missing', "the measurement needs Debian's package valgrind", {
    hint: 'apt-get install --no-install-recommends valgrind',
  });
}

export interface CountOptions {
  /** Of a server that does not run. */
  readonly data: string;
  readonly database: string;
  /** One statement a line. */
  readonly statements: readonly string[];
}

/** Of a whole single-user session, its start and end included. */
export function countInstructions({ data, database, statements }: CountOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      VALGRIND,
      [
        '--tool=callgrind',
        '--callgrind-out-file=/dev/null',
        `${PROGRAMS}/bin/postgres`,
        '--single',
        '-D',
        data,
        database,
      ],
      { ...serverAccount(), cwd: tmpdir(), stdio: ['pipe', 'ignore', 'pipe'] },
    );
    let said = '';
    child.stderr.on('data', (chunk) => {
      said += String(chunk);
    });
    child.once('error', reject);
    child.once('close', () => {
      const collected = /Collected : (\d+)/.exec(said)?.[1];
      if (collected === undefined || /ERROR: {2}/.test(said)) reject(new Error(`not counted: ${said}`));
      else resolve(Number(collected));
    });
    child.stdin.end(`${statements.join('\n')}\n`);
  });
}
