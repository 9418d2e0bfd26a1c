/** The points at which a test lets the process die, and that they are inert otherwise. */
import { describe, expect, it } from 'vitest';
import { createFailpoint } from '../../../src/runtime/failpoint.js';

describe('a failpoint', () => {
  it('is not there unless it is asked for', () => {
    for (const setting of [undefined, '', 'decide.before', 'decide.before:throw', ':kill']) {
      expect(
        createFailpoint(setting, () => undefined),
        String(setting),
      ).toBeUndefined();
    }
  });

  it('kills at its own name alone, and lets nothing happen after it', async () => {
    let killed = 0;
    const failpoint = createFailpoint('prepare.main.after:kill', () => {
      killed += 1;
    });
    await failpoint?.('prepare.main.before');
    await failpoint?.('decide.after');
    expect(killed).toBe(0);
    const reached = failpoint?.('prepare.main.after').then(() => 'went on');
    expect(killed).toBe(1);
    expect(await Promise.race([reached, Promise.resolve('stands still')])).toBe('stands still');
  });
});
