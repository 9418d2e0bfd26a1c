/** Which ports are tried, and in which order. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findFreePorts, PORT_RANGE, portSequence } from '../../../src/postgres/embedded/free-port.js';

describe('portSequence', () => {
  it('gives each port of the range once, wherever it begins', () => {
    const size = PORT_RANGE.last - PORT_RANGE.first + 1;
    fc.assert(
      fc.property(fc.nat(), (start) => {
        const ports = [...portSequence(start)];
        expect(ports.length).toBe(size);
        expect(new Set(ports).size).toBe(size);
        expect(Math.min(...ports)).toBe(PORT_RANGE.first);
        expect(Math.max(...ports)).toBe(PORT_RANGE.last);
      }),
      { numRuns: 20 },
    );
  });

  it('begins where it is told, and at the same place for the same start', () => {
    expect(portSequence(5).next().value).toBe(PORT_RANGE.first + 5);
    expect(portSequence(11_005).next().value).toBe(PORT_RANGE.first + 5);
  });
});

describe('findFreePorts', () => {
  it('says in which range no port is left', async () => {
    const taken = new Set(portSequence(0));
    await expect(findFreePorts(1, { start: 0, taken })).rejects.toMatchObject({
      code: 'no_free_port',
      exitCode: 23,
      message: expect.stringContaining(`between ${PORT_RANGE.first} and ${PORT_RANGE.last}`),
      hint: expect.stringContaining('Stop servers'),
    });
  });
});
