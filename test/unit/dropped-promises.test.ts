import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, it } from 'vitest';
import { droppedPromises } from '../../scripts/dropped-promises.js';

const FIXTURE = fileURLToPath(new URL('../fixtures/dropped-promises/planted.ts', import.meta.url));

it('finds every planted promise, and nothing else', () => {
  const program = ts.createProgram([FIXTURE], {
    target: ts.ScriptTarget.ES2023,
    lib: ['lib.es2023.d.ts'],
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    types: ['node'],
    strict: true,
    skipLibCheck: true,
    noEmit: true,
  });
  expect(program.getSemanticDiagnostics()).toEqual([]);
  const planted = readFileSync(FIXTURE, 'utf8')
    .split('\n')
    .flatMap((line, at) => (line.endsWith('// planted') ? [at + 1] : []));
  expect(planted.length).toBeGreaterThan(10);
  expect(droppedPromises(program, [FIXTURE]).map(({ line }) => line)).toEqual(planted);
}, 30_000);
