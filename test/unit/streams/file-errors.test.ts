import { expect, test } from 'vitest';
import { ConfigurationError, EXIT, RefusedError, UnreachableError } from '../../../src/errors.js';
import { translateFileError, translateStdoutError } from '../../../src/streams/file/file-errors.js';

const errno = (code: string): Error => Object.assign(new Error(`${code}: secret`), { code });

test.each([
  ['ENOSPC', UnreachableError, 'file_disk_full'],
  ['EDQUOT', UnreachableError, 'file_disk_full'],
  ['EFBIG', UnreachableError, 'file_disk_full'],
  ['EACCES', ConfigurationError, 'file_denied'],
  ['EPERM', ConfigurationError, 'file_denied'],
  ['EROFS', ConfigurationError, 'file_denied'],
  ['ENOENT', ConfigurationError, 'file_path_wrong'],
  ['ENOTDIR', ConfigurationError, 'file_path_wrong'],
  ['EISDIR', ConfigurationError, 'file_path_wrong'],
  ['EIO', UnreachableError, 'file_unavailable'],
  ['EMFILE', UnreachableError, 'file_unavailable'],
  ['ESTALE', UnreachableError, 'file_unavailable'],
])('%s', (code, Class, expected) => {
  const failure = translateFileError(errno(code), '/data/trail.jsonl');
  expect(failure).toBeInstanceOf(Class);
  expect(failure.code).toBe(expected);
  expect(failure.message).toContain('/data/trail.jsonl');
  expect(failure.message).not.toContain('secret');
});

test('what has no errno is a bug', () => {
  for (const error of [new TypeError('secret'), 'secret', errno('ERR_INVALID_ARG_TYPE')]) {
    const failure = translateFileError(error, '/x');
    expect(failure).toMatchObject({ code: 'file_unexpected', exitCode: EXIT.bug });
    expect(failure.message).not.toContain('secret');
  }
});

test('a closed pipe is told apart from other troubles', () => {
  expect(translateStdoutError(errno('EPIPE'))).toBeInstanceOf(RefusedError);
  expect(translateStdoutError(errno('EPIPE')).code).toBe('stdout_closed');
  expect(translateStdoutError(errno('EIO')).code).toBe('file_unavailable');
});
