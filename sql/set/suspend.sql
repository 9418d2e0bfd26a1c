-- Purpose:    stops capture of the set, so that its log grows no more. To be called twice, in two transactions.
-- Parameters: p_epoch   the relay's epoch; null for who is no relay
--             p_reason  for people, in one line
-- Returns:    the last ticket; capturing, true where the call has to be made once more
-- Invariant:  the last ticket holds all that was committed when it was drawn, and nothing of a transaction that wrote
--             later: it is drawn and recorded, and so the last, by a transaction that commits before the switch is
--             turned. Whoever was in flight then, and has some of its rows in the log and others not, is in no ticket.
-- Raises:     SHV26 another relay has taken over; SHV25 as draw does; SHV27 called twice in one transaction
-- Locks:      the set's head row; no table, and it replaces no function
create or replace function @schema@.suspend_@set@(p_epoch bigint, p_reason text, out ticket bigint, out capturing boolean)
  language plpgsql volatile as $shovel$
declare
  v_head        record;
  v_incarnation integer;
begin
  perform pg_catalog.set_config('synchronous_commit', 'on', true)
    where pg_catalog.current_setting('synchronous_commit') in ('off', 'local');
  select h.epoch, h.suspended_incarnation, h.suspended_ticket, h.resuming_since, h.xmin as writer into v_head
    from @schema@.set_head h where h.set_name = '@set@' for update;
  if v_head.epoch is null or v_head.epoch <> p_epoch then
    raise exception using errcode = 'SHV26',
      message = 'another relay has taken over set @set@',
      detail = pg_catalog.format('epoch here %s, in the database %s', p_epoch, v_head.epoch);
  end if;
  select r.incarnation into strict v_incarnation from @schema@.replication_set r where r.set_name = '@set@';
  if v_head.suspended_incarnation >= v_incarnation then
    if v_head.writer = pg_catalog.pg_current_xact_id()::xid then
      raise exception using errcode = 'SHV27',
        message = 'capture of set @set@ can''t be suspended by the transaction that records it',
        hint = 'Commit first, then call again.';
    end if;
    if v_head.resuming_since is null then
      perform @schema@.turn_@set@(p_epoch, 0, 8);
    end if;
    ticket := v_head.suspended_ticket;
    capturing := false;
    return;
  end if;
  perform @schema@.draw_@set@(v_head.epoch, -1, null, null, 0, null);
  select t.ticket into strict ticket from @schema@.ticket_@set@ t order by t.ticket desc limit 1;
  update @schema@.set_head h
    set suspended_at = pg_catalog.clock_timestamp(), suspended_reason = p_reason, suspended_ticket = ticket,
        suspended_incarnation = v_incarnation, resuming_since = null
    where h.set_name = '@set@';
  capturing := true;
end
$shovel$;

-- Purpose:    turns a suspended capture on again. Tickets are drawn again when the node is taken on as a new incarnation,
--             which begins at a ticket of its own: to be drawn when all writers of before this call have ended, for they
--             may have rows that are in no log. Limits are looked at afresh: what is over them is still to be trimmed.
-- Returns:    whether capture was suspended
-- Locks:      the set's head row
create or replace function @schema@.resume_@set@() returns boolean
  language plpgsql volatile as $shovel$
begin
  perform from @schema@.set_head h where h.set_name = '@set@' for update;
  update @schema@.set_head h set resuming_since = pg_catalog.clock_timestamp(), over_since = null
    from @schema@.replication_set r
    where h.set_name = '@set@' and r.set_name = h.set_name and h.suspended_incarnation >= r.incarnation;
  if not found and not exists (select from @schema@.switch_@set@ s where s.last_value & 8 <> 0) then
    return false;
  end if;
  perform @schema@.turn_@set@(null, 8, 0);
  return true;
end
$shovel$;
