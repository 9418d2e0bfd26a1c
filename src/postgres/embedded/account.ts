/**
 * Decides under which account a server of ours runs. PostgreSQL refuses to run as root, so root lends it the account
 * `nobody`, which every system has; anybody else runs it as himself.
 */

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** `nobody` and its group, on Linux and macOS alike in what matters: an account that owns nothing. */
const NOBODY: Account = { uid: 65534, gid: 65534 };

/** The account to switch to, or `undefined` where the caller's own will do. */
export function serverAccount(): Account | undefined {
  return process.getuid?.() === 0 ? NOBODY : undefined;
}
