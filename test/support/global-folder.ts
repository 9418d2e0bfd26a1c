/**
 * Before the first test of a project: a folder for all that its tests put into files (temporary-folder.ts), removed
 * after the last one, whoever was killed in between; kept, and its name printed, when a test has failed.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Where folders of this run are made. */
    readonly folder: string;
  }
}

export default function setup(project: TestProject): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'shovel-run-'));
  project.provide('folder', folder);
  return () => {
    if (project.vitest.state.getCountOfFailedTests() > 0) {
      process.stderr.write(`kept for you to look at: folder ${folder}\n`);
    } else {
      rmSync(folder, { recursive: true, force: true });
    }
  };
}
