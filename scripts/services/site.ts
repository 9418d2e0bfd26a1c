/**
 * Where things lie: the folder of one checkout's services (state, logs, data) in the system's temporary folder, and
 * the cache of the user, with what was downloaded. The one place of these scripts that reads the environment.
 */

import { createHash } from 'node:crypto';
import { chmodSync, lstatSync, mkdirSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RefusedError } from '../../src/errors.js';

export interface Site {
  /** Folder of this checkout's services; 0755, because PostgreSQL's account must get in. */
  readonly directory: string;
  /** Folder of the user's downloads. */
  readonly cache: string;
  /** Beginning of the port search. */
  readonly portStart: number;
  /** PATH, HOME, proxies and the like: for tools that download, never for servers. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** A line for the person who waits. */
  readonly progress: (line: string) => void;
}

export interface SiteOptions {
  /** Instead of the checkout's own: services of another folder share nothing with it but the downloads. */
  readonly directory?: string;
  /** Default: a line on standard error. */
  readonly progress?: (line: string) => void;
}

/** Folder of pom.xml and the wrapper. */
export const HERE = dirname(fileURLToPath(import.meta.url));

/**
 * The site of this checkout.
 * @throws RefusedError `services_directory` where the folder belongs to somebody else
 */
export function openSite(options: SiteOptions = {}): Site {
  const checkout = dirname(dirname(HERE));
  const uid = process.getuid?.() ?? 0;
  const hash = createHash('sha256').update(checkout).digest('hex');
  const directory = options.directory ?? join(tmpdir(), `shovel-svc-${uid}-${hash.slice(0, 10)}`);
  openFolder(directory);
  const owner = lstatSync(directory);
  if (!owner.isDirectory() || owner.uid !== uid) {
    throw new RefusedError('services_directory', `${directory} belongs to another user`, {
      hint: 'Set TMPDIR to a folder of your own, or remove that one.',
    });
  }
  const start = createHash('sha256').update(directory).digest().readUInt32BE(0);
  return {
    directory,
    cache: join(cacheRoot(), 'shovel-services'),
    portStart: start,
    environment: toolEnvironment(),
    progress: options.progress ?? ((line) => process.stderr.write(`${line}\n`)),
  };
}

/** Folder of one service of the site. The path marks its processes. */
export function serviceFolder(site: Site, name: string): string {
  return openFolder(join(site.directory, 'servers', name));
}

/** Makes a folder that every account can enter, whatever the umask. */
export function openFolder(path: string): string {
  const made = mkdirSync(path, { recursive: true, mode: 0o755 });
  if (made !== undefined) {
    for (let folder = path; folder.startsWith(made); folder = dirname(folder)) chmodSync(folder, 0o755);
  }
  return path;
}

function cacheRoot(): string {
  const named = process.env.XDG_CACHE_HOME;
  if (named?.startsWith('/') === true) return named;
  return process.platform === 'darwin' ? join(homedir(), 'Library', 'Caches') : join(homedir(), '.cache');
}

/** Without what `npm run` adds: it would tell an npm of ours to work in this checkout. */
function toolEnvironment(): Record<string, string | undefined> {
  const kept = /^npm_config_(registry|.*proxy|cafile|ca|userconfig|cache)$/i;
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name) || kept.test(name)),
  );
}
