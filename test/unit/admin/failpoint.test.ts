/** The points at which a test lets the process die or wait, and that they are inert otherwise. */
import { describe, expect, it } from 'vitest';
import { createFailpoint, type FailpointActions } from '../../../src/runtime/failpoint.js';

function recorded(): FailpointActions & { readonly done: string[]; go: () => void } {
  const done: string[] = [];
  let go: () => void = () => undefined;
  const paused = new Promise<void>((resolve) => {
    go = resolve;
  });
  return {
    done,
    go: () => go(),
    kill: () => done.push('killed'),
    pause: () => paused,
    tell: (line) => done.push(line),
  };
}

/** Whether it stands still, after everything else that can happen now has happened. */
function stands(work: Promise<void> | undefined): Promise<string> {
  return Promise.race([
    (work ?? Promise.resolve()).then(() => 'went on'),
    new Promise<string>((resolve) => setImmediate(() => resolve('stands still'))),
  ]);
}

describe('a failpoint', () => {
  it('is not there unless it is asked for', () => {
    for (const setting of [undefined, '', 'decide.before', 'decide.before:throw', ':kill', 'a:kill:0']) {
      expect(createFailpoint(setting, recorded()), String(setting)).toBeUndefined();
    }
  });

  it('kills at its own name alone, and lets nothing happen after it', async () => {
    const actions = recorded();
    const failpoint = createFailpoint('prepare.main.after:kill', actions);
    await failpoint?.('prepare.main.before');
    await failpoint?.('decide.after');
    expect(actions.done).toEqual([]);
    expect(await stands(failpoint?.('prepare.main.after'))).toBe('stands still');
    expect(actions.done).toEqual(['killed']);
  });

  it('kills the time that was asked for', async () => {
    const actions = recorded();
    const failpoint = createFailpoint('ground.main.commit.after:kill:2', actions);
    expect(await stands(failpoint?.('ground.main.commit.after'))).toBe('went on');
    expect(await stands(failpoint?.('ground.main.commit.after'))).toBe('stands still');
    expect(actions.done).toEqual(['killed']);
  });

  it('waits until it may go on, once', async () => {
    const actions = recorded();
    const failpoint = createFailpoint('decide.before:pause', actions);
    const waiting = failpoint?.('decide.before');
    expect(await stands(waiting)).toBe('stands still');
    expect(actions.done).toEqual(['paused at decide.before']);
    actions.go();
    await waiting;
    expect(await stands(failpoint?.('decide.before'))).toBe('went on');
  });

  it('tells every name', async () => {
    const actions = recorded();
    const failpoint = createFailpoint('*:trace', actions);
    await failpoint?.('begin.before');
    await failpoint?.('open.eu.commit.after');
    expect(actions.done).toEqual(['failpoint begin.before', 'failpoint open.eu.commit.after']);
  });
});
