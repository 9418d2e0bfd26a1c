-- Purpose:    is there anything that p_before did not show? Takes no lock and spends no xid.
-- Parameters: p_before, p_floor  the newest ticket's snapshot and floor, or those of a later peek that saw nothing
-- Returns:    pending; and the snapshot that this answer is about, with the sequence's value before and after it was
--             taken. Nothing may be pending for good only when the sequence still stands at ceiling_seq and a later
--             snapshot's xmin has reached this snapshot's xmax.
-- Touches:    reads the log and tickets
create or replace function @schema@.peek_@set@(
  p_before pg_snapshot, p_floor bigint,
  out pending boolean, out snapshot pg_snapshot, out floor_seq bigint, out ceiling_seq bigint)
  language plpgsql volatile as $shovel$
declare
  v_from bigint;
begin
  select case when s.is_called then s.last_value else 0 end into floor_seq from @schema@.seq_@set@ s;
  snapshot := pg_catalog.pg_current_snapshot();
  select case when s.is_called then s.last_value else 0 end into ceiling_seq from @schema@.seq_@set@ s;
  v_from := @schema@.window_floor_@set@(p_before, p_floor, snapshot);
  pending := exists (
    select from @schema@.log_@set@ l
    where l.seq > v_from and l.seq <= ceiling_seq
      and pg_catalog.pg_visible_in_snapshot(l.xid, snapshot)
      and not pg_catalog.pg_visible_in_snapshot(l.xid, p_before));
end
$shovel$;
