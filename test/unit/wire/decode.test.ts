import { describe, expect, it } from 'vitest';
import { decodeMessage } from '../../../src/wire/decode.js';

const SOURCE = '"name":"default","set":"example","set_version":3,"node":"6f","incarnation":1,"ticket":"42"';
const MUTATION =
  '{"before":null,"after":{"id":1,"note":"secret"},"op":"u","ts_ms":1700000000123,"source":{"connector":"shovel",' +
  `"version":"1.0.0","db":"app","schema":"public","table":"accounts","ts_ms":1700000000100,"snapshot":"false","txId":7421,${SOURCE},` +
  '"seq":"1001","metadata":{"actor":"alice"},"unchanged":["big"]},"transaction":null}';
const BEGIN = `{"op":"b","ts_ms":1,"source":{${SOURCE}},"previous":"41","snapshot":"1:2:","previous_snapshot":"1:1:"}`;
const END = `{"op":"e","source":{${SOURCE}},"count":"17","checksum":"sha256:ab"}`;

function refusal(value: string): Error {
  try {
    decodeMessage(value);
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error(`it was read: ${value}`);
}

describe('a message that is not of format shovel', () => {
  it('is told from one that is', () => {
    for (const value of [MUTATION, BEGIN, END]) expect(() => decodeMessage(value)).not.toThrow();
  });

  it.each([
    ['a mutation', MUTATION],
    ['a begin marker', BEGIN],
    ['an end marker', END],
  ])('is one that was cut off anywhere: %s', (_, value) => {
    for (let length = 0; length < value.length; length += 1) {
      expect(refusal(value.slice(0, length))).toMatchObject({
        code: 'message_invalid',
        exitCode: 25,
        retryable: false,
      });
    }
  });

  it.each<[string, string, string, string]>([
    ['op of message', MUTATION, '"op":"u"', '"op":"x"'],
    ['op of message', MUTATION, '"op":"u"', '"op":7'],
    ['after of message', MUTATION, '"after":{"id":1,"note":"secret"}', '"after":null'],
    ['after of message', MUTATION, '"after":{"id":1,"note":"secret"}', '"after":["secret"]'],
    ['before of message', MUTATION, '"before":null,', ''],
    ['ts_ms of message', MUTATION, '1700000000123', '"soon"'],
    ['source of message', MUTATION, '"source"', '"origin"'],
    ['set of source of message', MUTATION, '"set":"example"', '"set":7'],
    ['ticket of source of message', MUTATION, '"ticket":"42"', '"ticket":"x"'],
    ['seq of source of message', MUTATION, '"seq":"1001"', '"seq":"-1"'],
    ['set_version of source of message', MUTATION, '"set_version":3', '"set_version":1e30'],
    ['unchanged of source of message', MUTATION, '["big"]', '[7]'],
    ['previous of message', BEGIN, '"previous":"41",', ''],
    ['count of message', END, '"count":"17"', '"count":"many"'],
    ['checksum of message', END, '"checksum":"sha256:ab"', '"checksum":null'],
    ['op of message', MUTATION, MUTATION, '[]'],
  ])('says what is wrong, never a value: %s', (what, value, from, to) => {
    const damaged = value.replace(from, to);
    const error = refusal(damaged.endsWith('}') ? damaged : `${damaged}}`);
    expect(error).toMatchObject({
      code: 'message_invalid',
      message: `A message is not of format shovel: ${what} is missing or wrong.`,
      hint: 'Does something else write to this destination, or a newer release than this one reads?',
    });
  });
});
