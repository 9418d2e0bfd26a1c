/** What a cluster's record says of releases. */
import type { ClusterRecord } from '../model/change-records.js';
import { newestRelease } from '../model/release-order.js';
import { readRelease } from '../postgres/release-files.js';
import { type AdminContext, namesOf } from './context.js';

/** This release, and the oldest that can work with nodes that are at it. */
export async function releasesOf(
  context: AdminContext,
): Promise<Pick<ClusterRecord, 'release' | 'minimumRelease'>> {
  const { version, migrations, functions } = await readRelease(namesOf(context));
  const minimumRelease = newestRelease([...migrations, ...functions].map((file) => file.minimumRelease));
  return { release: version, ...(minimumRelease === null ? {} : { minimumRelease }) };
}
