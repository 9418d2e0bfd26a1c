-- Purpose:    changes bits of the switch that the capture functions read, and leaves the others as they are
-- Parameters: p_epoch           the relay's epoch; null for who is no relay
--             p_clear, p_set    bits
-- Raises:     SHV26 another relay has taken over
-- Locks:      the set's head row: of two who turn at once neither undoes what the other did
-- Lasts:      at once and for everybody, whether or not the transaction commits
create or replace function @schema@.turn_@set@(p_epoch bigint, p_clear bigint, p_set bigint) returns void
  language plpgsql volatile as $shovel$
declare
  v_epoch bigint;
begin
  select h.epoch into v_epoch from @schema@.set_head h where h.set_name = '@set@' for update;
  if v_epoch is null or v_epoch <> p_epoch then
    raise exception using errcode = 'SHV26',
      message = 'another relay has taken over set @set@',
      detail = pg_catalog.format('epoch here %s, in the database %s', p_epoch, v_epoch);
  end if;
  perform pg_catalog.setval('@schema@.switch_@set@', (s.last_value & ~p_clear) | p_set)
    from @schema@.switch_@set@ s where s.last_value <> ((s.last_value & ~p_clear) | p_set);
end
$shovel$;
