-- Removes the log of set @set@ and everything over it. Its triggers and capture functions are gone before.
drop function if exists @schema@.draw_@set@(bigint, bigint, pg_snapshot, bigint, bigint, xid8);
drop function if exists @schema@.mark_@set@();
drop function if exists @schema@.peek_@set@(pg_snapshot, bigint);
drop function if exists @schema@.window_floor_@set@(pg_snapshot, bigint, pg_snapshot);
drop function if exists @schema@.nested_@set@(pg_snapshot, pg_snapshot, bigint, bigint);
drop function if exists @schema@.store_order_@set@(bigint, bigint[], bigint[]);
drop function if exists @schema@.note_metadata_@set@();
drop function if exists @schema@.ring_@set@(bigint);
drop function if exists @schema@.arm_@set@(bigint);
drop function if exists @schema@.turn_@set@(bigint, bigint, bigint);
drop function if exists @schema@.suspend_@set@(bigint, text);
drop function if exists @schema@.resume_@set@();
drop view if exists @schema@.log_@set@, @schema@.ticket_@set@, @schema@.order_@set@;
drop table if exists @schema@.more_0_@set@, @schema@.more_1_@set@, @schema@.more_2_@set@,
  @schema@.log_0_@set@, @schema@.log_1_@set@, @schema@.log_2_@set@,
  @schema@.ticket_0_@set@, @schema@.ticket_1_@set@, @schema@.ticket_2_@set@,
  @schema@.order_0_@set@, @schema@.order_1_@set@, @schema@.order_2_@set@, @schema@.segment_@set@;
drop sequence if exists @schema@.seq_@set@, @schema@.switch_@set@, @schema@.bell_@set@;
delete from @schema@.captured_table where set_name = '@set@';
delete from @schema@.stream where set_name = '@set@';
delete from @schema@.set_head where set_name = '@set@';
delete from @schema@.installed_file where pg_catalog.starts_with(path, 'sql/set/@set@/');
