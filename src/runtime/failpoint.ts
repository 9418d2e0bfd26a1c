/**
 * Named points in the code at which a test lets the process die, to see what is left is mended. Inert unless asked
 * for; the setting is read where all settings are.
 */

/** `open.main.before:kill` → the process dies when that point is reached, as by SIGKILL. */
export function createFailpoint(
  setting: string | undefined,
  kill: () => void,
): ((name: string) => Promise<void>) | undefined {
  const match = /^([a-z0-9_.]+):kill$/.exec(setting ?? '');
  if (!match) return undefined;
  return (name) => {
    if (name !== match[1]) return Promise.resolve();
    kill();
    // Nothing after this point happens, however long the signal takes.
    return new Promise(() => undefined);
  };
}
