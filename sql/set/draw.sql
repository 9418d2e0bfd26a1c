-- Purpose:    draws the next ticket, if anything has been committed since the last one
-- Parameters: p_epoch            the drawing relay's epoch
--             p_ticket           the newest ticket that it knows; with
--             p_before, p_floor  a later snapshot at which nothing was pending, and a floor for it as peek takes it (the
--                                ticket's own if none)
--             p_mark_floor, p_mark_xid  a mark made before this call, in a transaction that has ended
-- Returns:    the ticket's row, or no row when there is nothing to publish
-- Raises:     SHV26 another relay has taken over; SHV25 the snapshot would run backwards; SHV27 capture is suspended
-- Locks:      the set's head row, so that draws happen one after another and an epoch can't change meanwhile
-- Order:      where nested writes were logged out of order the ticket is marked nested, and is not to be published
--             before its order is stored (order_@set@)
-- Touches:    reads the log and tickets; inserts a ticket. Commits durably whatever the session's default is.
create or replace function @schema@.draw_@set@(
  p_epoch bigint, p_ticket bigint, p_before pg_snapshot, p_floor bigint, p_mark_floor bigint, p_mark_xid xid8)
  returns setof @schema@.ticket_0_@set@ language plpgsql volatile as $shovel$
declare
  v_epoch    bigint;
  v_suspended integer;
  v_last     @schema@.ticket_0_@set@;
  v_new      @schema@.ticket_0_@set@;
  v_ceiling  bigint;
  v_before   pg_snapshot := p_before;
  v_floor    bigint := p_floor;
  v_from     bigint;
  v_own      boolean;
  v_takes    boolean;
  v_frees    boolean;
begin
  if pg_catalog.current_setting('synchronous_commit') in ('off', 'local') then
    perform pg_catalog.set_config('synchronous_commit', 'on', true);
  end if;
  select h.epoch, h.suspended_incarnation into v_epoch, v_suspended
    from @schema@.set_head h where h.set_name = '@set@' for update;
  if v_epoch is distinct from p_epoch then
    raise exception using errcode = 'SHV26',
      message = 'another relay has taken over set @set@',
      detail = pg_catalog.format('epoch here %s, in the database %s', p_epoch, v_epoch);
  end if;
  if v_suspended >= (select r.incarnation from @schema@.replication_set r where r.set_name = '@set@') then
    raise exception using errcode = 'SHV27', message = 'capture of set @set@ is suspended';
  end if;

  select t.* into v_last from @schema@.ticket_@set@ t order by t.ticket desc limit 1;
  if v_before is null or v_last.ticket <> p_ticket then
    v_before := v_last.snapshot;
    v_floor := v_last.floor_seq;
  end if;

  -- The mark was made before the snapshot is taken, the ceiling is read after it; each statement here has a snapshot of
  -- its own.
  v_new.snapshot := pg_catalog.pg_current_snapshot();
  select case when s.is_called then s.last_value else 0 end into v_ceiling from @schema@.seq_@set@ s;

  if pg_catalog.pg_snapshot_xmin(v_new.snapshot) < pg_catalog.pg_snapshot_xmin(v_last.snapshot)
     or pg_catalog.pg_snapshot_xmax(v_new.snapshot) < pg_catalog.pg_snapshot_xmax(v_last.snapshot) then
    raise exception using errcode = 'SHV25',
      message = 'transaction ids of set @set@ ran backwards: this database is not the one that ticket ' || v_last.ticket || ' was drawn in',
      detail = pg_catalog.format('ticket %s has %s, now %s', v_last.ticket, v_last.snapshot, v_new.snapshot);
  end if;

  v_new.floor_seq := v_last.floor_seq;
  if p_mark_xid < pg_catalog.pg_snapshot_xmax(v_new.snapshot) then
    v_new.floor_seq := greatest(v_last.floor_seq, p_mark_floor);
  end if;

  v_from := @schema@.window_floor_@set@(v_before, v_floor, v_new.snapshot);
  select pg_catalog.count(*), pg_catalog.min(l.seq), pg_catalog.max(l.seq),
         pg_catalog.bool_or(((l.old_xmin::text::bigint - (l.xid::text::bigint & 4294967295)) & 4294967295) < 2147483648),
         pg_catalog.bool_or(l.op in ('I', 'K') or l.mark = 'f'),
         pg_catalog.bool_or(l.op in ('D', 'K') or l.mark = 'f')
    into v_new.mutations, v_new.first_seq, v_new.last_seq, v_own, v_takes, v_frees
    from @schema@.log_@set@ l
    where l.seq > v_from and l.seq <= v_ceiling
      and pg_catalog.pg_visible_in_snapshot(l.xid, v_new.snapshot)
      and not pg_catalog.pg_visible_in_snapshot(l.xid, v_before);
  if v_new.mutations = 0 then
    return;
  end if;

  -- Without a version of the transaction's own that it ended, and without keys both taken and given up, there is nothing
  -- that nested writes could have turned round (see nested_@set@).
  v_new.nested := (coalesce(v_own, false) or (v_takes and v_frees)) and exists (
    select from @schema@.nested_@set@(v_before, v_new.snapshot, v_new.first_seq, v_new.last_seq));
  v_new.ticket := v_last.ticket + 1;
  v_new.drawn_at := pg_catalog.clock_timestamp();
  select r.set_version into strict v_new.set_version from @schema@.replication_set r where r.set_name = '@set@';
  case (select s.last_value & 3 from @schema@.switch_@set@ s)
    when 0 then insert into @schema@.ticket_0_@set@ select v_new.*;
    when 1 then insert into @schema@.ticket_1_@set@ select v_new.*;
    else insert into @schema@.ticket_2_@set@ select v_new.*;
  end case;
  return next v_new;
end
$shovel$;
