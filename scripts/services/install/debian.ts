/**
 * Programs that only the system's packages bring: Java, Redis, PostgreSQL's clients. Root on Debian (and what derives
 * from it) gets them installed; anybody else is told the command.
 */

import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { ConfigurationError } from '../../../src/errors.js';
import type { Site } from '../site.js';
import { findProgram, runTool, tail } from './command.js';

export interface Packages {
  /** What is missing, as a person says it: `Java 17 or later`. */
  readonly what: string;
  readonly debian: readonly string[];
  readonly homebrew: readonly string[];
}

/** Whether `installPackages` would do it, rather than say how. */
export function canInstall(site: Site): boolean {
  return process.getuid?.() === 0 && isDebian() && findProgram(site, 'apt-get') !== undefined;
}

/**
 * Installs what is missing, with one call of apt-get. Servers that packages bring are not started.
 * @throws ConfigurationError `services_package_missing`: exit 20 and the exact command
 */
export async function installPackages(site: Site, missing: readonly Packages[]): Promise<void> {
  if (missing.length === 0) return;
  const names = [...new Set(missing.flatMap((entry) => entry.debian))];
  const what = missing.map((entry) => entry.what).join(', ');
  if (!canInstall(site)) throw missingError(what, commandFor(missing, names));
  site.progress(`installing ${names.join(' ')} (${what})`);
  const restore = forbidServiceStarts();
  try {
    await apt(site, ['update']);
    await apt(site, ['install', '-y', '--no-install-recommends', ...names]);
  } catch (error) {
    throw missingError(what, commandFor(missing, names), error);
  } finally {
    restore();
  }
}

async function apt(site: Site, args: readonly string[]): Promise<void> {
  const outcome = await runTool('apt-get', {
    site,
    args: ['-q', '-o', 'DPkg::Lock::Timeout=300', ...args],
    environment: { DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
  });
  if (outcome.code !== 0) throw new Error(tail(outcome.output));
}

/** Debian's way to install a server without running it. Only what is written here is taken away again. */
function forbidServiceStarts(): () => void {
  const policy = '/usr/sbin/policy-rc.d';
  if (existsSync(policy)) return () => undefined;
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  return () => rmSync(policy, { force: true });
}

function isDebian(): boolean {
  try {
    return /^ID(_LIKE)?=.*debian/m.test(readFileSync('/etc/os-release', 'utf8'));
  } catch {
    return false;
  }
}

function commandFor(missing: readonly Packages[], debian: readonly string[]): string {
  return process.platform === 'darwin'
    ? `brew install ${missing.flatMap((entry) => entry.homebrew).join(' ')}`
    : `sudo apt-get install -y --no-install-recommends ${debian.join(' ')}`;
}

function missingError(what: string, command: string, cause?: unknown): ConfigurationError {
  const why = cause instanceof Error ? `: ${cause.message.replaceAll('\n', ' ')}` : '';
  return new ConfigurationError('services_package_missing', `missing: ${what}${why}`, {
    hint: `Run: ${command}`,
    ...(cause === undefined ? {} : { cause }),
  });
}
