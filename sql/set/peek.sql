-- Purpose:    is there anything that p_before did not show? Takes no lock and spends no xid.
-- Parameters: p_before, p_floor  the newest ticket's snapshot and floor, or a later peek's snapshot at which nothing was
--                                pending, with the floor of a mark whose xid is below its xmax
-- Returns:    pending, and the snapshot that this answer is about
-- Touches:    reads the log and tickets
create or replace function @schema@.peek_@set@(
  p_before pg_snapshot, p_floor bigint, out pending boolean, out snapshot pg_snapshot)
  language plpgsql volatile as $shovel$
declare
  v_from    bigint;
  v_ceiling bigint;
begin
  snapshot := pg_catalog.pg_current_snapshot();
  -- Read after the snapshot was taken: whoever it shows took his numbers before.
  select case when s.is_called then s.last_value else 0 end into v_ceiling from @schema@.seq_@set@ s;
  v_from := @schema@.window_floor_@set@(p_before, p_floor, snapshot);
  pending := exists (
    select from @schema@.log_@set@ l
    where l.seq > v_from and l.seq <= v_ceiling
      and pg_catalog.pg_visible_in_snapshot(l.xid, snapshot)
      and not pg_catalog.pg_visible_in_snapshot(l.xid, p_before));
end
$shovel$;
