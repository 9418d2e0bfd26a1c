import { describe, expect, it } from 'vitest';
import { type DrawnTicket, ticketOf } from '../../../src/model/ticket.js';
import { decodeRecord } from '../../../src/relay/node-record.js';
import { isBehind, type StartFacts, startFrom, startPoint } from '../../../src/relay/start-position.js';
import type { StreamPosition } from '../../../src/streams/publisher.js';

const POSITION: StreamPosition = {
  incarnation: 1,
  ticket: 7n,
  snapshotHash: 'hash',
  complete: true,
  part: 2,
  lastSeq: 70n,
  epoch: 3n,
};
const TICKET: DrawnTicket = {
  ticket: ticketOf(7),
  snapshot: '1:1:',
  floorSeq: 0n,
  firstSeq: 1n,
  lastSeq: 70n,
  mutations: 3n,
  setVersion: 1,
  nested: false,
  drawnAtMs: '0',
};

const facts = (value: bigint, more: Partial<StartFacts> = {}): StartFacts => ({
  set: 'example',
  stream: 'events',
  incarnation: 1,
  position: POSITION,
  durable: true,
  record: decodeRecord(value, ticketOf(1)),
  ticket: TICKET,
  ticketHash: 'hash',
  firstTicket: ticketOf(1),
  reborn: undefined,
  ...more,
});

describe('where a stream goes on', () => {
  it('is the next ticket, or the middle of this one', () => {
    expect(startPoint(facts(15n))).toEqual({ next: 8n, from: undefined });
    const part = { ...POSITION, complete: false };
    expect(startPoint(facts(14n, { position: part }))).toEqual({ next: 7n, from: { part: 2, lastSeq: 70n } });
  });

  it('may be ahead of what the node has recorded, never behind', () => {
    expect(startPoint(facts(0n))).toMatchObject({ next: 8n });
    expect(startPoint(facts(16n))).toMatchObject({ next: 8n });
    for (const value of [17n, 18n]) {
      expect(isBehind(facts(value))).toBe(true);
      expect(() => startPoint(facts(value))).toThrow(
        expect.objectContaining({ code: 'position_went_back', exitCode: 25 }),
      );
    }
  });

  it.each<[string, Partial<StartFacts>]>([
    ['another snapshot', { ticketHash: 'other' }],
    ['a ticket that was never drawn', { ticket: undefined, ticketHash: undefined }],
    ['a later incarnation', { position: { ...POSITION, incarnation: 2 } }],
  ])('is nowhere where the source tells another history: %s', (_, more) => {
    expect(() => startPoint(facts(15n, more))).toThrow(
      expect.objectContaining({ code: 'source_went_back', exitCode: 25 }),
    );
  });

  it('is the first ticket of a stream that is new', () => {
    const fresh = { position: undefined, firstTicket: ticketOf(5) };
    expect(startPoint(facts(0n, { ...fresh, record: decodeRecord(0n, ticketOf(5)) }))).toMatchObject({
      next: 5n,
    });
    expect(startPoint(facts(0n, { ...fresh, record: decodeRecord(10n, ticketOf(5)) }))).toMatchObject({
      next: 5n,
    });
  });

  it('is lost where a broker that keeps positions holds none', () => {
    const lost = facts(11n, { position: undefined });
    expect(isBehind(lost)).toBe(true);
    expect(() => startPoint(lost)).toThrow(expect.objectContaining({ code: 'position_lost', exitCode: 25 }));
  });

  it('is what the node says where the destination keeps nothing', () => {
    const bare = { position: undefined, durable: false };
    expect(startPoint(facts(11n, bare))).toMatchObject({ next: 6n });
    expect(startPoint(facts(12n, bare))).toMatchObject({ next: 6n });
  });

  it('follows a node that was taken on again', () => {
    const again = { incarnation: 2 };
    // Its first ticket since is the 9th: what was drawn before it and not published goes out first.
    expect(startPoint(facts(15n, { ...again, reborn: ticketOf(9) }))).toMatchObject({ next: 8n });
    expect(startPoint(facts(15n, { ...again, reborn: ticketOf(7) }))).toMatchObject({ next: 8n });
    // The same ticket in both: the destination knows better than a record that is behind.
    expect(startPoint(facts(11n, { ...again, reborn: ticketOf(9) }))).toMatchObject({ next: 8n });
  });

  it.each([undefined, 'another'])(
    'is what the node has published where the position is of a history that is gone (%s)',
    (ticketHash) => {
      const copy = { incarnation: 2, ticketHash, reborn: ticketOf(9) };
      expect(startPoint(facts(11n, copy))).toEqual({ next: 6n, from: undefined });
    },
  );

  it('is not past what a restored node draws under numbers that were published before it was lost', () => {
    const restored = { incarnation: 2, ticketHash: undefined, reborn: ticketOf(3) };
    expect(startPoint(facts(5n, restored))).toEqual({ next: 3n, from: undefined });
  });

  it('is its first ticket where a stream was taken out and came back after that', () => {
    const back = { incarnation: 2, firstTicket: ticketOf(6), record: decodeRecord(0n, ticketOf(6)) };
    for (const reborn of [undefined, ticketOf(3)]) {
      const returned = facts(0n, { ...back, reborn });
      expect(isBehind(returned)).toBe(false);
      expect(startPoint(returned)).toEqual({ next: 6n, from: undefined });
    }
  });

  it.each([
    ['it began before what is kept', undefined],
    ['more of it is recorded than its first ticket', ticketOf(6)],
  ])('is not in an older incarnation where the newer one was published from: %s', (_, reborn) => {
    const older = facts(15n, { incarnation: 2, ticketHash: undefined, reborn });
    expect(isBehind(older)).toBe(true);
    expect(() => startPoint(older)).toThrow(
      expect.objectContaining({ code: 'position_went_back', exitCode: 25 }),
    );
  });

  it('may be named by a person, if nothing is left out', () => {
    const at = { set: 'example', stream: 'events', next: ticketOf(8) };
    expect(startFrom(ticketOf(3), at)).toEqual({ next: 3n, from: undefined });
    expect(() => startFrom(ticketOf(9), at)).toThrow(
      expect.objectContaining({ code: 'ticket_ahead', exitCode: 21 }),
    );
  });
});
