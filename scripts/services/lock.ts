/**
 * One command at a time in a folder. The lock is a file that names its holder; it appears whole (linked into place)
 * and falls when its holder is gone, so a killed command leaves nothing to clean.
 */

import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { RefusedError } from '../../src/errors.js';
import { startOf } from './processes.js';
import { openFolder } from './site.js';

const WAIT_MS = 10 * 60_000;
const TELL_AFTER_MS = 2_000;

export interface LockOptions {
  /** Told once when it has to wait. */
  readonly progress: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs `task` while no other process runs one in `folder`.
 * @throws RefusedError `services_locked` after ten minutes
 */
export async function withLock<T>(
  folder: string,
  options: LockOptions & { task: () => Promise<T> },
): Promise<T> {
  const file = join(folder, 'lock');
  const begun = Date.now();
  let told = false;
  while (!tryLock(file)) {
    options.signal?.throwIfAborted();
    const waitedMs = Date.now() - begun;
    if (waitedMs > WAIT_MS) {
      throw new RefusedError(
        'services_locked',
        `another command has been at work in ${folder} for ten minutes`,
        {
          hint: `End process ${holderOf(file)?.split(' ')[0] ?? '?'} and call again.`,
        },
      );
    }
    if (!told && waitedMs > TELL_AFTER_MS) {
      told = true;
      options.progress(`waiting for process ${holderOf(file)?.split(' ')[0] ?? '?'}`);
    }
    await delay(25);
  }
  try {
    return await options.task();
  } finally {
    // The task may have removed the folder, and somebody else may have made it again.
    if (holderOf(file) === ownName()) rmSync(file, { force: true });
  }
}

function ownName(): string {
  return `${process.pid} ${startOf(process.pid)}`;
}

function tryLock(file: string): boolean {
  const holder = holderOf(file);
  if (holder !== undefined) {
    if (isAlive(holder)) return false;
    dropStale(file, holder);
  }
  const part = `${file}.${process.pid}`;
  try {
    // Its last user may have removed the folder just now.
    openFolder(dirname(file));
    writeFileSync(part, ownName());
    linkSync(part, file);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'EEXIST' || error.code === 'ENOENT'))
      return false;
    throw error;
  } finally {
    rmSync(part, { force: true });
  }
}

/** Takes a dead holder's file away. If another was quicker and this is already the next holder's, it is put back. */
function dropStale(file: string, holder: string): void {
  const aside = `${file}.stale-${process.pid}`;
  try {
    renameSync(file, aside);
    if (holderOf(aside) !== holder) linkSync(aside, file);
  } catch {
    // Somebody else took it away.
  } finally {
    rmSync(aside, { force: true });
  }
}

function holderOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** `PID START`, START being a start as startOf tells it. */
function isAlive(holder: string): boolean {
  const blank = holder.indexOf(' ');
  const started = startOf(Number(holder.slice(0, blank)));
  return started !== undefined && started === holder.slice(blank + 1);
}
