-- Purpose:    a fact about the sequence that later snapshots can be held against
-- Returns:    floor_seq, the sequence's value, and xid, a transaction id given out after that was read: whoever has
--             taken a number up to floor_seq has a lower xid. So for any snapshot whose xmax is above xid (every one
--             that is taken after this call's transaction) all transactions with numbers up to floor_seq are either
--             visible in it or named in its list of those in progress. A snapshot alone can't say that: its xmax is the
--             newest transaction that has *ended*, plus one, and those in progress beyond it are in no list.
-- Touches:    reads the sequence; spends an xid
create or replace function @schema@.mark_@set@(out floor_seq bigint, out xid xid8)
  language plpgsql volatile as $shovel$
begin
  select case when s.is_called then s.last_value else 0 end into floor_seq from @schema@.seq_@set@ s;
  xid := pg_catalog.pg_current_xact_id();
end
$shovel$;

-- Purpose:    where the mutations can stand that p_now shows and p_before does not
-- Parameters: p_before, p_floor  a snapshot, and the floor of a mark whose xid is below its xmax
--             p_now              a later snapshot
-- Returns:    the number below or at which none of them stands. Transactions that p_before neither shows nor names
--             have only numbers above p_floor; those that it names, and that have ended since, may have lower ones:
--             from the floor of the newest ticket that neither showed nor named them.
-- Touches:    reads tickets
create or replace function @schema@.window_floor_@set@(p_before pg_snapshot, p_floor bigint, p_now pg_snapshot)
  returns bigint language plpgsql volatile as $shovel$
declare
  v_oldest xid8;
begin
  select x into v_oldest from pg_catalog.pg_snapshot_xip(p_before) as x
    where pg_catalog.pg_visible_in_snapshot(x, p_now) order by x limit 1;
  if v_oldest is null then
    return p_floor;
  end if;
  return least(p_floor, coalesce(
    (select t.floor_seq from @schema@.ticket_@set@ t
      where pg_catalog.pg_snapshot_xmax(t.snapshot) <= v_oldest order by t.ticket desc limit 1), 0));
end
$shovel$;
