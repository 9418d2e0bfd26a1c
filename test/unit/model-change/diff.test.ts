/** What differs between two configurations, told without secrets. */
import { describe, expect, it } from 'vitest';
import { diffConfigurations } from '../../../src/model/change-diff.js';
import type { SetConfiguration } from '../../../src/model/set-configuration.js';
import { parseSetFile } from '../../../src/model/set-file.js';

function parse(text: string): SetConfiguration {
  const parsed = parseSetFile(`name: example\n${text}`, { file: 'test.yaml' });
  if ('issues' in parsed) throw new Error(parsed.issues.map((issue) => issue.message).join('\n'));
  return parsed.configuration;
}

const base = `
databases: { main: { dsn: "postgres://me:first-secret@h/db" } }
tables: [{ name: public.a }, { name: public.b }]
streams: { s: { file: { path: /tmp/s } } }
`;

describe('the difference of two configurations', () => {
  it('is nothing where they mean the same, whatever the order of tables', () => {
    const other = base.replace('{ name: public.a }, { name: public.b }', '{ name: b }, { name: public.a }');
    expect(diffConfigurations(parse(base), parse(base))).toEqual([]);
    expect(diffConfigurations(parse(base), parse(other))).toEqual([]);
  });

  it('names what came, went and changed, by its path', () => {
    const next = base
      .replace('{ name: public.b }', '{ name: public.c, key: none }')
      .replace('{ name: public.a }', '{ name: public.a, columns: [id] }')
      .concat('wake: poll\n');
    const changes = diffConfigurations(parse(base), parse(next));
    expect(changes.map(({ kind, path }) => `${kind} ${path.join('/')}`).sort()).toEqual([
      'added tables/public.a/columns',
      'added tables/public.c',
      'changed wake',
      'removed tables/public.b',
    ]);
    expect(changes.find(({ path }) => path[0] === 'wake')).toEqual({
      kind: 'changed',
      path: ['wake'],
      before: '"auto"',
      after: '"poll"',
    });
  });

  it('shows that a secret changed, never the secret', () => {
    const kafka = `  k: { kafka: { brokers: ["b:1"], topic: t, sasl: { mechanism: plain, username: u-secret, password: p-secret } } }\n`;
    const next = base
      .replace('first-secret', 'second-secret')
      .replace('streams: {', 'streams:\n')
      .replace(/ s: \{ file: \{ path: \/tmp\/s \} \} \}\n/, `  s: { file: { path: /tmp/s } }\n${kafka}`);
    const changes = diffConfigurations(parse(base), parse(next));
    expect(changes).toContainEqual({ kind: 'changed', path: ['databases', 'main', 'dsn'] });
    expect(changes.map(({ path }) => path.join('/'))).toContain('streams/k');
    expect(JSON.stringify(changes)).not.toMatch(/secret/);
  });
});
