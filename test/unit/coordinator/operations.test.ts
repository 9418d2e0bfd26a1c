import { describe, expect, it } from 'vitest';
import type { Operation } from '../../../src/coordinator/coordinator.js';
import {
  checkOperations,
  checkPath,
  createsAtTop,
  nameOf,
  parentOf,
} from '../../../src/coordinator/operations.js';

const create = (path: string, data = ''): Operation => ({ kind: 'create', path, data });

describe('paths', () => {
  it.each(['/', '/a', '/a/b-c/d.e/f_0', '/shovel/default/leases/example.main', '/...'])(
    '%s is one',
    (path) => {
      expect(() => checkPath(path)).not.toThrow();
    },
  );
  it.each(['', 'a', '/a/', '//', '/A', '/a/.', '/../a', '/~a', '/a b', `/${'a'.repeat(1_000)}`])(
    '%j is none',
    (path) => {
      expect(() => checkPath(path)).toThrow(
        expect.objectContaining({ code: 'coordinator_path_invalid', exitCode: 21 }),
      );
    },
  );
  it('have a parent and a name', () => {
    expect([parentOf('/a'), parentOf('/a/b/c'), nameOf('/a'), nameOf('/a/b')]).toEqual([
      '/',
      '/a/b',
      'a',
      'b',
    ]);
  });
});

describe('checkOperations', () => {
  it('counts bytes, not characters, over the whole multi', () => {
    const fits = [create('/a', 'ä'.repeat(250_000)), create('/b', 'x'.repeat(500_000))];
    expect(() => checkOperations(fits, 0)).not.toThrow();
    expect(() => checkOperations([...fits, create('/c', 'x')], 0)).toThrow(
      expect.objectContaining({ code: 'coordinator_too_large', exitCode: 21 }),
    );
  });

  it('counts what operations cost beside their data, the chroot included', () => {
    const many = Array.from({ length: 6_000 }, (_, i) => create(`/entry-${i}`));
    expect(() => checkOperations(many, 0)).not.toThrow();
    expect(() => checkOperations(many, 100)).toThrow(
      expect.objectContaining({ code: 'coordinator_too_large' }),
    );
  });

  it.each([-1, 0.5, Number.NaN])('takes %d for a bug of the caller, not for any version', (version) => {
    expect(() => checkOperations([{ kind: 'check', path: '/a', version }], 0)).toThrow(RangeError);
  });

  it('does not let the root be made or removed', () => {
    expect(() => checkOperations([create('/')], 0)).toThrow(
      expect.objectContaining({ code: 'coordinator_path_invalid' }),
    );
    expect(() => checkOperations([{ kind: 'remove', path: '/', version: 0 }], 0)).toThrow(
      expect.objectContaining({ code: 'coordinator_path_invalid' }),
    );
  });

  it('knows what is made at the top', () => {
    expect(createsAtTop([create('/a/b'), create('/c')])).toBe(true);
    expect(createsAtTop([create('/a/b'), { kind: 'set', path: '/c', data: '', version: 0 }])).toBe(false);
  });
});
