-- Purpose:    where the mutations can stand that p_now shows and p_before does not
-- Parameters: p_before, p_floor  a snapshot and the sequence value read before it was taken
--             p_now              a later snapshot
-- Returns:    the number below or at which none of them stands. Transactions without an xid in p_before have only
--             numbers above p_floor; those in flight then, and ended since, may have lower ones: from the floor of
--             the newest ticket that did not know them yet.
-- Touches:    reads tickets
create or replace function @schema@.window_floor_@set@(p_before pg_snapshot, p_floor bigint, p_now pg_snapshot)
  returns bigint language plpgsql volatile as $shovel$
declare
  v_oldest xid8;
begin
  select min(x) into v_oldest from pg_catalog.pg_snapshot_xip(p_before) as x
    where pg_catalog.pg_visible_in_snapshot(x, p_now);
  if v_oldest is null then
    return p_floor;
  end if;
  return least(p_floor, coalesce(
    (select t.floor_seq from @schema@.ticket_@set@ t
      where pg_catalog.pg_snapshot_xmax(t.snapshot) <= v_oldest order by t.ticket desc limit 1), 0));
end
$shovel$;
