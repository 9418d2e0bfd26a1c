import { readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { PLANTED } from '../fixtures/import-violations.js';
import { importViolations } from '../support/import-rules.js';

const SRC = fileURLToPath(new URL('../../src/', import.meta.url));

describe('imports of src', () => {
  it('keep the rules of docs/architecture.md', () => {
    const sources = readSources();
    expect(sources.size).toBeGreaterThan(50);
    expect(importViolations(sources)).toEqual([]);
  });

  it.each(PLANTED)('are checked: $rule', ({ sources, violation }) => {
    expect(importViolations(new Map(Object.entries(sources)))).toEqual([violation]);
  });

  it('allow what architecture.md allows', () => {
    const sources = {
      'errors.ts': '',
      'model/a.ts': "import { z } from 'zod'; import { E } from '../errors.js';",
      'postgres/connect.ts': "import pg from 'pg';",
      'coordinator/coordinator.ts': '// process.env is read elsewhere',
      'coordinator/postgres/b.ts': "import { open } from '../../postgres/connect.js';",
      'admin/c.ts': "import type { C } from '../coordinator/coordinator.js'; import 'node:fs';",
      'cli/host.ts': 'export const environment = process.env;',
    };
    expect(importViolations(new Map(Object.entries(sources)))).toEqual([]);
  });
});

function readSources(): ReadonlyMap<string, string> {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  );
  return new Map(files.map((name) => [name.split(sep).join('/'), readFileSync(join(SRC, name), 'utf8')]));
}
