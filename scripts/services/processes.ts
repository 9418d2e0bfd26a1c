/**
 * Looks at the system's processes and ends some of them. A process is known by its number together with the time it
 * started; a zombie is as good as gone (in a container nobody may ever collect it). Linux: /proc, because small
 * images have no ps; elsewhere ps.
 */

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { LAUNCH_WORD } from '../../src/postgres/embedded/launch.js';

export interface ProcessInfo {
  readonly pid: number;
  readonly parent: number;
  /** Elsewhere than on Linux split at blanks. */
  readonly argv: readonly string[];
}

const LINUX = process.platform === 'linux';
const STOP_WITHIN_MS = 10_000;

/** When it started, in words that only comparing makes sense of; `undefined` when there is no such process. */
export function startOf(pid: number): string | undefined {
  if (!LINUX) {
    const [state, ...started] = ps(['-o', 'state=,lstart=', '-p', String(pid)])
      .trim()
      .split(/\s+/);
    return state === undefined || state === '' || state.startsWith('Z') ? undefined : started.join(' ');
  }
  const fields = statOf(pid);
  return fields === undefined || fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}

/** Every process that can be seen. */
function listProcesses(): ProcessInfo[] {
  if (!LINUX) {
    return ps(['-axo', 'pid=,ppid=,command='])
      .trim()
      .split('\n')
      .map((line) => {
        const [pid, parent, ...argv] = line.trim().split(/\s+/);
        return { pid: Number(pid), parent: Number(parent), argv };
      });
  }
  const found: ProcessInfo[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^[0-9]+$/.test(entry)) continue;
    const pid = Number(entry);
    const argv = readOrNothing(`/proc/${entry}/cmdline`).split('\0');
    const parent = Number(statOf(pid)?.[1]);
    if (argv[0] !== undefined && argv[0] !== '') found.push({ pid, parent, argv });
  }
  return found;
}

/**
 * Servers and their tools, under way or about to be, with `marker` in an argument. An editor or a `tail` on a log is
 * none.
 */
export function findMarked(marker: string): ProcessInfo[] {
  return listProcesses().filter(({ pid, argv }) => {
    const program = basename(argv[0] ?? '');
    const ours = PROGRAMS.has(program) || argv.includes(LAUNCH_WORD) || argv.includes('shovel-guardian');
    return ours && pid !== process.pid && argv.some((argument) => argument.includes(marker));
  });
}

const PROGRAMS = new Set(['postgres', 'initdb', 'java', 'redis-server']);

/** The process and all its descendants, the process first. */
export function treeOf(pid: number): number[] {
  const all = listProcesses();
  const tree = [pid];
  for (const member of tree) {
    for (const process of all) if (process.parent === member) tree.push(process.pid);
  }
  return tree;
}

/** Sends a signal; false when there is no such process (or it is not ours). */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/**
 * Ends a process in an orderly way, by force after 10 s, and waits until it is gone. PostgreSQL is asked by SIGINT,
 * which ends connections, the others by SIGTERM; a stopped one is woken first.
 */
export async function endProcess(target: { readonly pid: number; readonly started: string }): Promise<void> {
  const { pid } = target;
  const alive = () => startOf(pid) === target.started;
  if (!alive()) return;
  const program = basename(listProcesses().find((process) => process.pid === pid)?.argv[0] ?? '');
  for (const member of treeOf(pid)) signalProcess(member, 'SIGCONT');
  signalProcess(pid, program === 'postgres' ? 'SIGINT' : 'SIGTERM');
  if (await until(() => !alive(), STOP_WITHIN_MS)) return;
  for (const member of treeOf(pid)) signalProcess(member, 'SIGKILL');
  await until(() => !alive(), STOP_WITHIN_MS);
}

/** Looks every 15 ms; false when the time is over. */
export async function until(condition: () => boolean, limitMs: number): Promise<boolean> {
  const deadline = Date.now() + limitMs;
  while (!condition()) {
    if (Date.now() >= deadline) return false;
    await delay(15);
  }
  return true;
}

/** Fields of /proc/PID/stat after the name: [0] state, [1] parent, [19] start. */
function statOf(pid: number): string[] | undefined {
  const text = readOrNothing(`/proc/${pid}/stat`);
  const end = text.lastIndexOf(')');
  return end < 0 ? undefined : text.slice(end + 2).split(' ');
}

function readOrNothing(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function ps(args: readonly string[]): string {
  return (
    spawnSync('ps', [...args], { encoding: 'utf8', env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' } }).stdout ?? ''
  );
}
