/** Small readers of other people's formats: `java -version`, zip. */

import { deflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { javaMajor } from '../../../scripts/services/install/java.js';
import { unpack } from '../../../scripts/services/install/redis-server.js';

describe('javaMajor', () => {
  it.each([
    ['openjdk version "17.0.15" 2025-04-15', 17],
    ['java version "1.8.0_392"', 8],
    ['Picked up JAVA_TOOL_OPTIONS: -Dx\nopenjdk version "21" 2023-09-19', 21],
    ['openjdk version "25-ea" 2025-09-16', 25],
    ['The operation couldn’t be completed. Unable to locate a Java Runtime.', 0],
  ])('reads %j', (output, major) => {
    expect(javaMajor(output)).toBe(major);
  });
});

describe('unpack', () => {
  it('finds a file by its name, packed or stored', () => {
    const text = 'a'.repeat(1000);
    const zip = makeZip([
      { name: 'one', data: Buffer.from('first'), method: 0 },
      { name: 'dir/two', data: Buffer.from(text), method: 8 },
    ]);
    expect(unpack(zip, /^one$/)?.toString()).toBe('first');
    expect(unpack(zip, /two$/)?.toString()).toBe(text);
    expect(unpack(zip, /^three$/)).toBeUndefined();
  });

  it('takes anything else for a zip without files', () => {
    expect(unpack(Buffer.from('not a zip at all, and long enough to hold one'), /./)).toBeUndefined();
  });
});

interface Entry {
  readonly name: string;
  readonly data: Buffer;
  readonly method: 0 | 8;
}

function makeZip(entries: readonly Entry[]): Buffer {
  const locals: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const { name, data, method } of entries) {
    const packed = method === 0 ? data : deflateRawSync(data);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(packed.length, 20);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt32LE(at, 42);
    locals.push(local, Buffer.from(name), packed);
    directory.push(central, Buffer.from(name));
    at += 30 + name.length + packed.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...locals, ...directory, end]);
}
