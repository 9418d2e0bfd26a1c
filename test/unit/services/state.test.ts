/** The state of the services survives whatever is found in its file. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseState, type State, takenPorts, withService } from '../../../scripts/services/state.js';

const STATE: State = {
  services: {
    pg: { ports: [20_001], servers: [{ name: 'member-1', pid: 77, started: '123' }] },
    zk: { ports: [20_002, 20_003], servers: [] },
  },
  byHand: ['pg'],
};

describe('parseState', () => {
  it('reads what was written', () => {
    expect(parseState(JSON.stringify(STATE))).toEqual(STATE);
  });

  it.each(['', '{', 'null', '[]', '{"services":1,"byHand":{}}'])('takes %j for empty', (text) => {
    expect(parseState(text)).toEqual({ services: {}, byHand: [] });
  });

  it('never rejects, whatever JSON it is given', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(Object.keys(parseState(text)).sort()).toEqual(['byHand', 'services']);
      }),
    );
  });

  it.each([
    ['a port that is none', { ports: [0], servers: [] }],
    ['process 1', { ports: [20_001], servers: [{ name: 'a', pid: 1, started: '1' }] }],
    ['a process without a start', { ports: [20_001], servers: [{ name: 'a', pid: 7 }] }],
  ])('leaves out a service with %s', (_, record) => {
    const text = JSON.stringify({ services: { good: STATE.services.pg, bad: record }, byHand: [] });
    expect(Object.keys(parseState(text).services)).toEqual(['good']);
  });
});

describe('withService', () => {
  it('replaces one record and leaves the others', () => {
    const next = withService(STATE, 'zk', { ports: [20_009], servers: [] });
    expect(next.services.pg).toBe(STATE.services.pg);
    expect([...takenPorts(next)]).toEqual([20_001, 20_009]);
  });
});
