/**
 * Jars of the services: each profile of pom.xml is fetched by the Maven wrapper into a folder of the user's cache,
 * compared with jars.sha256, and only then given its name. A folder that is there is whole.
 */

import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { ConfigurationError, UnreachableError } from '../../../src/errors.js';
import { HERE, type Site } from '../site.js';
import { findProgram, runTool, tail } from './command.js';
import type { Packages } from './debian.js';
import { fetchFolder } from './fetch-folder.js';

/** What the wrapper itself needs to fetch Maven. */
export function wrapperPackages(site: Site): Packages[] {
  const missing = [
    ...((findProgram(site, 'curl') ?? findProgram(site, 'wget')) ? [] : ['curl', 'ca-certificates']),
    ...(findProgram(site, 'unzip') ? [] : ['unzip']),
  ];
  return missing.length === 0 ? [] : [{ what: missing.join(' and '), debian: missing, homebrew: missing }];
}

/** Where the jars of a profile are or will be; the name changes with their list. */
function jarFolder(site: Site, profile: string): string {
  const list = expectedJars(profile);
  const hash = createHash('sha256')
    .update(JSON.stringify([...list]))
    .digest('hex')
    .slice(0, 10);
  return join(site.cache, `${profile}-${hash}`);
}

export function hasJars(site: Site, profile: string): boolean {
  return existsSync(jarFolder(site, profile));
}

/**
 * Fetches what is not there. One Maven at a time for the user: its local repository bears only one writer.
 * @throws UnreachableError `services_download_failed`, ConfigurationError `services_download_differs`
 */
export async function fetchJars(
  site: Site,
  options: { readonly profile: string; readonly java: string },
): Promise<string> {
  const { profile } = options;
  return fetchFolder(site, {
    folder: jarFolder(site, profile),
    progress: `fetching the jars of ${profile}`,
    fill: async (part) => {
      await maven(site, { ...options, part });
      await compare(part, profile);
    },
  });
}

interface MavenOptions {
  readonly profile: string;
  readonly java: string;
  readonly part: string;
}

async function maven(site: Site, { profile, java, part }: MavenOptions): Promise<void> {
  const outcome = await runTool('/bin/sh', {
    site,
    args: [
      ...[join(HERE, 'mvnw'), '-B', '-q', '-C', '-f', join(HERE, 'pom.xml'), '-P', profile],
      ...['dependency:copy-dependencies', `-DoutputDirectory=${part}`],
    ],
    directory: HERE,
    // The wrapper looks for `java` on the PATH; a JAVA_HOME without a compiler would end it.
    environment: {
      PATH: `${dirname(java)}${delimiter}${site.environment.PATH ?? ''}`,
      JAVA_HOME: '',
      MAVEN_OPTS: '',
    },
  });
  if (outcome.code === 0) return;
  throw new UnreachableError(
    'services_download_failed',
    `Maven could not fetch the jars of ${profile}: ${tail(outcome.output)}`,
    {
      hint: 'See that the Maven repository can be reached, and call again.',
      details: { profile },
    },
  );
}

async function compare(folder: string, profile: string): Promise<void> {
  const expected = expectedJars(profile);
  const found = await readdir(folder);
  const wrong: string[] = [];
  for (const file of new Set([...expected.keys(), ...found])) {
    const hash = found.includes(file)
      ? createHash('sha256')
          .update(await readFile(join(folder, file)))
          .digest('hex')
      : undefined;
    if (hash !== expected.get(file)) wrong.push(file);
  }
  if (wrong.length === 0) return;
  throw new ConfigurationError(
    'services_download_differs',
    `jars of ${profile} are not those of scripts/services/jars.sha256: ${wrong.join(', ')}`,
    {
      hint: 'If pom.xml was changed on purpose, put the new checksums into jars.sha256.',
      details: { profile },
    },
  );
}

/** File name → SHA-256 in hex, from jars.sha256 (`sha256sum PROFILE/FILE`). */
function expectedJars(profile: string): Map<string, string> {
  const lines = readFileSync(join(HERE, 'jars.sha256'), 'utf8').split('\n');
  const entries = lines
    .map((line) => line.split(/ [ *]/))
    .filter(([, path]) => path?.startsWith(`${profile}/`));
  return new Map(entries.map(([hash, path]) => [path?.slice(profile.length + 1) ?? '', hash ?? '']));
}
