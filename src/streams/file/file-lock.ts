/**
 * An exclusive lock on an open file that ends with the process, however it ends: flock(2), which belongs to the open
 * file description. Node has no call for it, so a short-lived helper (`flock` of util-linux or BusyBox, else perl) is
 * handed the descriptor and locks it; the lock stays with us when the helper has exited. Unlike a file with a process
 * number in it, it can't be stale, and holds between containers that share a file system.
 */

import { spawn } from 'node:child_process';
import type { FileHandle } from 'node:fs/promises';
import { ConfigurationError, EXIT, ShovelError } from '../../errors.js';

/** Each gets the descriptor as its 3 and exits 0 when it locked it, 1 when another holds it. */
const HELPERS: readonly (readonly [string, readonly string[]])[] = [
  ['flock', ['-x', '-n', '3']],
  ['perl', ['-e', 'open(my $f, ">&=", 3) or exit 2; exit(flock($f, 6) ? 0 : $!{EAGAIN} ? 1 : 2)']],
];

/**
 * @throws a retryable ShovelError `file_locked` (exit 21) where another process, or another open handle of this one, holds the lock.
 * @throws ConfigurationError `file_lock_unavailable` where neither helper works.
 */
export async function lockHandle(handle: FileHandle, path: string): Promise<void> {
  for (const [command, args] of HELPERS) {
    const status = await run(command, args, handle.fd);
    if (status === 0) return;
    if (status === 1) {
      // Worth waiting for: a relay that was suspended and replaced keeps its files until it wakes up, or dies.
      throw new ShovelError(
        { code: 'file_locked', exitCode: EXIT.refused, retryable: true },
        `${path} is being written by another publisher`,
        {
          hint: 'Only one relay may write a file; stop the other, or give each stream a path of its own.',
          details: { path },
        },
      );
    }
  }
  throw new ConfigurationError('file_lock_unavailable', `${path} can't be locked`, {
    hint: 'Install flock (package util-linux) or perl, and use a file system that supports locks.',
    details: { path },
  });
}

/** The exit status; undefined where the command could not be run or was killed. */
function run(command: string, args: readonly string[], fd: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const child = spawn(command, [...args], { stdio: ['ignore', 'ignore', 'ignore', fd] });
    child.once('error', () => resolve(undefined));
    child.once('exit', (code) => resolve(code ?? undefined));
  });
}
