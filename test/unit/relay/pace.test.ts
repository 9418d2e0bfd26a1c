import { describe, expect, it } from 'vitest';
import { parseSnapshot, type Snapshot, shows } from '../../../src/model/snapshot.js';
import { ticketOf } from '../../../src/model/ticket.js';
import { canRest, Pace } from '../../../src/relay/pace.js';
import { PartitionTruncates } from '../../../src/relay/partition-truncates.js';
import { TicketBoard } from '../../../src/relay/ticket-board.js';

const snapshot = (text: string): Snapshot => {
  const parsed = parseSnapshot(text);
  if (parsed === undefined) throw new Error(`no snapshot: ${text}`);
  return parsed;
};

describe('the pace of drawing', () => {
  it('is quick while something happens, and slows down the longer nothing does', () => {
    const pace = new Pace();
    expect(pace.pauseMs({ nowMs: 0, tookMs: 1, quiet: false })).toBe(50);
    expect(pace.pauseMs({ nowMs: 100, tookMs: 1, quiet: true })).toBe(50);
    expect(pace.pauseMs({ nowMs: 3100, tookMs: 1, quiet: true })).toBe(300);
    expect(pace.pauseMs({ nowMs: 99_000, tookMs: 1, quiet: true })).toBe(1000);
    expect(pace.pauseMs({ nowMs: 99_001, tookMs: 1, quiet: false })).toBe(50);
    expect(pace.pauseMs({ nowMs: 99_002, tookMs: 1, quiet: true })).toBe(50);
  });

  it('leaves four fifths of the time to others, and is never long', () => {
    expect(new Pace().pauseMs({ nowMs: 0, tookMs: 100, quiet: false })).toBe(400);
    expect(new Pace().pauseMs({ nowMs: 0, tookMs: 5000, quiet: false })).toBe(1000);
  });

  it('rests only when whoever had a number has ended, and nobody has taken one since', () => {
    const mark = { floorSeq: 10n, xid: 100n };
    expect(canRest(mark, { look: snapshot('101:101:'), seq: 10n })).toBe(true);
    expect(canRest(mark, { look: snapshot('101:101:'), seq: 11n })).toBe(false);
    expect(canRest(mark, { look: snapshot('99:105:99'), seq: 10n })).toBe(false);
    // Beyond its xmax a snapshot says nothing, so the mark's own end has to be in it.
    expect(canRest(mark, { look: snapshot('100:100:'), seq: 10n })).toBe(false);
  });
});

describe('a snapshot', () => {
  it('shows who had ended', () => {
    const one = snapshot('10:20:12,15');
    expect([9n, 10n, 12n, 15n, 19n, 20n].map((xid) => shows(one, xid))).toEqual([
      true,
      true,
      false,
      false,
      true,
      false,
    ]);
    expect(parseSnapshot('10:20')).toBeUndefined();
    expect(parseSnapshot('')).toBeUndefined();
  });
});

describe('the board of tickets', () => {
  it('wakes whoever waits, and tells whoever waits in vain', async () => {
    const board = new TicketBoard();
    const { signal } = new AbortController();
    const waiting = board.waitFor(ticketOf(2), signal);
    board.announce(ticketOf(1));
    board.announce(ticketOf(2));
    expect(await waiting).toBe(true);
    expect(await board.waitFor(ticketOf(1), signal)).toBe(true);
    const vain = board.waitFor(ticketOf(3), signal);
    board.close();
    expect(await vain).toBe(false);
    const stopping = new AbortController();
    const open = new TicketBoard();
    const stopped = open.waitFor(ticketOf(1), stopping.signal);
    stopping.abort();
    expect(await stopped).toBe(false);
  });
});

describe('truncates of partitions', () => {
  const table = {
    version: '1',
    relid: '100',
    captured: {
      schema: 'public',
      table: 'p',
      key: ['id'],
      columns: null,
      before: 'key' as const,
      operations: [],
      partitioned: true,
      base: 'x',
    },
  };
  const row = (leaf: string, xid = '7', atMs = '1') => ({
    seq: '1',
    xid,
    atMs,
    rel: '1',
    op: 'T',
    mark: null,
    leaf,
    meta: null,
    old: null,
    new: null,
    extra: null,
    source: '1',
  });

  it('are those of the root where they follow it, each once', () => {
    const truncates = new PartitionTruncates();
    const next = (leaf: string, more: { xid?: string; atMs?: string; operation?: 'I' | 'T' } = {}) =>
      truncates.next(row(leaf, more.xid, more.atMs), { operation: more.operation ?? 'T', table });
    expect(next('100')).toBe('whole');
    expect(next('101')).toBe('part_of_root');
    expect(next('102', { xid: '8' })).toBe('partition');
    expect(next('102')).toBe('part_of_root');
    expect(next('101')).toBe('partition');
    expect(next('100')).toBe('whole');
    expect(next('101', { atMs: '2' })).toBe('partition');
    expect(next('101', { operation: 'I' })).toBe('none');
    expect(next('102')).toBe('partition');
  });
});
