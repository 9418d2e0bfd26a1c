import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createSha256, sha256Hex } from '../../../src/runtime/hash.js';

it('is SHA-256 of the text as UTF-8', () => {
  expect(sha256Hex('')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  expect(sha256Hex('é')).toBe('4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c');
});

it('is the same in pieces, and can be read on the way', () => {
  fc.assert(
    fc.property(fc.array(fc.string()), (pieces) => {
      const running = createSha256();
      let text = '';
      for (const piece of pieces) {
        running.update(piece);
        text += piece;
        expect(running.hex()).toBe(sha256Hex(text));
      }
    }),
  );
});
