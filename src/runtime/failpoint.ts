/**
 * Named points in the code at which a test lets the process die, or wait, to see that what is left is mended. Inert
 * unless asked for; the setting is read where all settings are.
 *
 *     open.main.before:kill      dies there, as by SIGKILL
 *     decide.before:pause        says so on standard error and goes on at SIGCONT, alive meanwhile
 *     ground.main.commit.after:kill:3    the third time that it comes by there
 *     *:trace                    says the name of every point that it comes by
 */

/** What a failpoint does to the process; handed in, because nothing here may. */
export interface FailpointActions {
  readonly kill: () => void;
  /** Resolves when somebody lets the process go on. */
  readonly pause: () => Promise<void>;
  readonly tell: (line: string) => void;
}

/** Undefined where the setting asks for nothing. */
export function createFailpoint(
  setting: string | undefined,
  { kill, pause, tell }: FailpointActions,
): ((name: string) => Promise<void>) | undefined {
  if (setting === '*:trace') {
    return (name) => {
      tell(`failpoint ${name}`);
      return Promise.resolve();
    };
  }
  const match = /^([a-z0-9_.]+):(kill|pause)(?::([1-9][0-9]{0,3}))?$/.exec(setting ?? '');
  if (!match) return undefined;
  const [, point, action, times] = match;
  let left = Number(times ?? '1');
  return async (name) => {
    if (name !== point) return;
    left -= 1;
    if (left !== 0) return;
    if (action === 'pause') {
      // Whoever reads the line may let it go on at once.
      const resumed = pause();
      tell(`paused at ${name}`);
      await resumed;
      return;
    }
    kill();
    // Nothing after this point happens, however long the signal takes.
    await new Promise(() => undefined);
  };
}
