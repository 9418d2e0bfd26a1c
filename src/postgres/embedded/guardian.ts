/**
 * Sees to it that servers do not outlive the process that started them, however it ends. A shell waits at the end of
 * a pipe whose other end only that process holds: when the kernel closes it, SIGKILL or not, the shell stops the
 * servers and removes their folder. No polling, no port, and nothing to do on an orderly stop but to let it go.
 * What it leaves open: both killed in the same instant.
 */

import { spawn } from 'node:child_process';

/**
 * Arguments: the folder to remove, or nothing. Lines read: the process ids to stop, or `release`. A zombie is as good
 * as gone; nobody may ever collect it.
 */
const SCRIPT = `
alive() {
  kill -0 "$1" || return 1
  case $(cat "/proc/$1/stat") in *") Z "*) return 1 ;; esac
}
pids=
while read -r line; do
  if [ "$line" = release ]; then exit 0; fi
  pids=$line
done
for pid in $pids; do kill -s CONT "$pid"; kill -s INT "$pid"; done
tries=0
while [ "$tries" -lt 100 ]; do
  left=
  for pid in $pids; do if alive "$pid"; then left=1; fi; done
  if [ -z "$left" ]; then break; fi
  tries=$((tries + 1))
  sleep 0.1
done
if [ -n "$left" ]; then for pid in $pids; do kill -s KILL "$pid"; done; fi
if [ -n "$1" ]; then rm -rf "$1"; fi
`;

export interface Guardian {
  /** Replaces the set of processes to stop. Each is sent SIGINT, and SIGKILL 10 s later. */
  watch(pids: readonly number[]): void;
  /** The servers are gone, or are to stay: nothing is stopped or removed any more. */
  release(): void;
}

export interface GuardianOptions {
  /** Removed with all it holds when the starter is gone. */
  readonly directory?: string;
}

/** Starts the shell. It has a session of its own, so Ctrl-C does not reach it. */
export function startGuardian(options: GuardianOptions = {}): Guardian {
  const shell = spawn('/bin/sh', ['-c', SCRIPT, 'shovel-guardian', options.directory ?? ''], {
    cwd: '/',
    detached: true,
    env: { PATH: '/usr/bin:/bin' },
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  // A guardian that somebody killed protects nothing; the servers go on and are stopped in the usual way.
  shell.on('error', () => undefined);
  shell.stdin.on('error', () => undefined);
  shell.unref();
  if ('unref' in shell.stdin && typeof shell.stdin.unref === 'function') shell.stdin.unref();
  return {
    watch: (pids) => {
      shell.stdin.write(`${pids.join(' ')}\n`);
    },
    release: () => {
      shell.stdin.end('release\n');
    },
  };
}
