/** Finds a Java of version 17 or later: JAVA_HOME, then the PATH. Only running it tells: macOS has an empty shell. */

import { join } from 'node:path';
import type { Site } from '../site.js';
import { findProgram, isProgram, runTool } from './command.js';
import type { Packages } from './debian.js';

export const JAVA_PACKAGES: Packages = {
  what: 'Java 17 or later',
  debian: ['default-jre-headless'],
  homebrew: ['openjdk@17'],
};

const OLDEST = 17;

/** Absolute path of `java`, or `undefined`. */
export async function findJava(site: Site): Promise<string | undefined> {
  const home = site.environment.JAVA_HOME;
  const candidates = [
    ...(home === undefined || home === '' ? [] : [join(home, 'bin', 'java')]),
    findProgram(site, 'java'),
    '/opt/homebrew/opt/openjdk@17/bin/java',
    '/usr/local/opt/openjdk@17/bin/java',
  ];
  for (const candidate of candidates) {
    if (candidate === undefined || !isProgram(candidate)) continue;
    const outcome = await runTool(candidate, {
      site,
      args: ['-version'],
      signal: AbortSignal.timeout(20_000),
    });
    if (outcome.code === 0 && javaMajor(outcome.output) >= OLDEST) return candidate;
  }
  return undefined;
}

/** The major version that `java -version` tells; 0 when it tells none. */
export function javaMajor(output: string): number {
  const match = /version "(\d+)(?:\.(\d+))?/.exec(output);
  return Number(match?.[1] === '1' ? match[2] : (match?.[1] ?? 0));
}
