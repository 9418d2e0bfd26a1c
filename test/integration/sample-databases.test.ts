/**
 * Sets over every table of databases as people have them survive random workloads: what is published makes the tables
 * again, and after each batch a state that the source was in.
 */
import { describe, expect, it } from 'vitest';
import { attic } from '../fixtures/sample-databases/attic.js';
import { videoStore } from '../fixtures/sample-databases/video-store.js';
import { wholesale } from '../fixtures/sample-databases/wholesale.js';
import { SERVERS } from '../support/pg-versions.js';
import { runSampleDatabase } from '../support/sample-database.js';

describe.each(SERVERS)('on $name', ({ url }) => {
  it.each([videoStore, wholesale, attic])('the $name', async (database) => {
    const run = await runSampleDatabase(database, url());
    expect([...run.tables].sort()).toEqual(Object.keys(database.tables).sort());
    expect(Object.entries(run.operations).filter(([, count]) => count === 0)).toEqual([]);
    expect(run.outcomes.rolledBack).toBeGreaterThan(0);
    expect(run.tickets).toBeGreaterThan(1n);
  });
});
