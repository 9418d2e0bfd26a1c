/** Folders in the user's cache that are fetched once: there as a whole or not at all, one process at a time. */

import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { withLock } from '../lock.js';
import { openFolder, type Site } from '../site.js';

export interface FetchOptions {
  /** In the site's cache. */
  readonly folder: string;
  /** Shown while it goes on. */
  readonly progress: string;
  /** Fills an empty folder; what it leaves behind where it throws is removed by the next try. */
  readonly fill: (part: string) => Promise<void>;
}

export async function fetchFolder(site: Site, { folder, progress, fill }: FetchOptions): Promise<string> {
  if (existsSync(folder)) return folder;
  openFolder(site.cache);
  await withLock(site.cache, {
    progress: site.progress,
    task: async () => {
      if (existsSync(folder)) return;
      site.progress(progress);
      const part = `${folder}.part`;
      await rm(part, { recursive: true, force: true });
      await mkdir(part);
      await fill(part);
      await rename(part, folder);
    },
  });
  return folder;
}
