/** Folders for what a test puts into files. Nobody removes them: the run does, at its end (global-folder.ts). */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { inject } from 'vitest';

/** A new, empty folder; `name` tells what it is for, to whoever looks into a failed run's. */
export function temporaryFolder(name: string): string {
  return mkdtempSync(join(inject('folder'), `${name}-`));
}
