/**
 * Everything that file operations throw, as a ShovelError: one total function. A full disk and passing troubles
 * are worth a retry; a path or permissions that are wrong are not.
 */

import { ConfigurationError, EXIT, RefusedError, ShovelError, UnreachableError } from '../../errors.js';

/** EFBIG is the limit of the file system or of the process (`ulimit -f`): full, too. */
const FULL: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
const DENIED: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS']);
const WRONG_PATH: ReadonlySet<string> = new Set([
  'ENOENT',
  'ENOTDIR',
  'EISDIR',
  'ENAMETOOLONG',
  'ELOOP',
  'EINVAL',
]);

/** The system's name of an error (`ENOSPC`), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/** Total; a ShovelError is returned as it is. */
export function translateFileError(error: unknown, path: string): ShovelError {
  if (error instanceof ShovelError) return error;
  const errno = errnoOf(error);
  const options = (hint: string) => ({ hint, details: { path, errno: errno ?? null }, cause: error });
  if (errno === undefined) {
    return new ShovelError(
      { code: 'file_unexpected', exitCode: EXIT.bug, retryable: false },
      `writing ${path} met an unexpected ${error instanceof Error ? error.name : typeof error}`,
      options('This is a bug: please report it with the stack trace (--log-level debug).'),
    );
  }
  if (FULL.has(errno)) {
    return new UnreachableError(
      'file_disk_full',
      `${path} can't grow: ${errno}`,
      options('Make room on its file system; the stream goes on by itself, without a gap.'),
    );
  }
  if (DENIED.has(errno)) {
    return new ConfigurationError(
      'file_denied',
      `${path} may not be written: ${errno}`,
      options(
        'Give the relay write permission on the file and on its directory (side files stand beside it).',
      ),
    );
  }
  if (WRONG_PATH.has(errno)) {
    return new ConfigurationError(
      'file_path_wrong',
      `${path} can't be opened: ${errno}`,
      options("Make its directory, or correct the stream's path."),
    );
  }
  return new UnreachableError(
    'file_unavailable',
    `${path} can't be written now: ${errno}`,
    options('Tried again by itself; if it lasts, look at the file system.'),
  );
}

/** What writing to a pipe or terminal throws. */
export function translateStdoutError(error: unknown): ShovelError {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined;
  if (code !== 'EPIPE' && code !== 'ERR_STREAM_DESTROYED' && code !== 'ERR_STREAM_WRITE_AFTER_END')
    return translateFileError(error, 'stdout');
  return new RefusedError('stdout_closed', 'whoever read standard output has closed it', {
    hint: 'Start again with a reader; what was not read is published again.',
    cause: error,
  });
}
