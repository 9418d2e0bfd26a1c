/** A decision has to fit into one multi: a set that does not is refused in words before anything is begun. */
import { describe, expect, it } from 'vitest';
import { buildChange } from '../../../src/admin/carry-out.js';
import { parseSetFile } from '../../../src/model/set-file.js';
import { systemClock } from '../../../src/runtime/clock.js';

function build(tables: readonly string[]) {
  const text = `name: many
databases: { main: { dsn: "postgres://me@h/db" } }
tables: [${tables.map((name) => `{ name: "${name}" }`).join(', ')}]
streams: { s: { file: { path: /tmp/s } } }
`;
  const parsed = parseSetFile(text, { file: 'test.yaml' });
  if ('issues' in parsed) throw new Error(parsed.issues.map((issue) => issue.message).join('\n'));
  const context = { cluster: 'c', clock: systemClock } as Parameters<typeof buildChange>[0];
  return buildChange(context, {
    configuration: parsed.configuration,
    state: 'live',
    nodes: [],
    cluster: { id: 'c', entryVersion: 0 },
    base: null,
  });
}

describe('a set of many tables', () => {
  it('is refused where its decision does not fit, by its name and with what to do', () => {
    const tables = Array.from({ length: 5_000 }, (_, index) => `sales.${'x'.repeat(50)}_${index}`);
    expect(() => build(tables)).toThrow(
      expect.objectContaining({
        code: 'set_too_large',
        exitCode: 21,
        message: expect.stringContaining('Set many with its 5000 tables'),
        hint: expect.stringContaining('sales.*'),
      }),
    );
  });

  it('fits with 1,000 of the longest names, and with any number by their schema', () => {
    const name = (index: number) => `${'s'.repeat(63)}.${String(index).padStart(63, 't')}`;
    build(Array.from({ length: 1_000 }, (_, index) => name(index)));
    build(['sales.*']);
  });
});
