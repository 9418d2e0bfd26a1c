-- Purpose:    wakes a relay that sleeps, from a capture function that has read the switch as 4 or more
-- Parameters: p_switch  what it has read
-- Returns:    the segment to write into; 8 or more while capture is suspended
-- Harmless:   one transaction rings for all that come after it, until the relay arms the bell again; setval takes no lock
--             that makes another writer wait. A transaction that has notified can't be prepared, and its commit fails
--             while the server's queue of notifications is full: where either could be, nothing rings and the relay
--             finds the mutation by its poll. It does so too where the transaction that rang rolls back.
-- Called by:  capture functions, as the capture role
-- Touches:    the sequence bell_@set@
create or replace function @schema@.ring_@set@(p_switch pg_catalog.int8) returns pg_catalog.int8
  language plpgsql volatile as $shovel$
begin
  if p_switch operator(pg_catalog.>=) 8 then
    return p_switch;
  end if;
  if pg_catalog.pg_sequence_last_value('@schema@.bell_@set@'::pg_catalog.regclass) operator(pg_catalog.=) 1
     and pg_catalog.current_setting('max_prepared_transactions') operator(pg_catalog.=) '0'
     and pg_catalog.pg_notification_queue_usage() operator(pg_catalog.<) 0.01 then
    perform pg_catalog.setval('@schema@.bell_@set@'::pg_catalog.regclass, 0);
    perform pg_catalog.pg_notify('shovel_wake', '@schema@.@set@');
  end if;
  return p_switch operator(pg_catalog.&) 3;
end
$shovel$;

-- Purpose:    asks to be notified of the next mutation
-- Parameters: p_epoch  the relay's epoch
-- Returns:    whether it will be: never where transactions can be prepared or the queue of notifications is filling up
-- Raises:     SHV26 another relay has taken over
-- Locks:      the set's head row
-- After it:   whoever asked must look once more before it sleeps, and sleep no longer than a poll may take
create or replace function @schema@.arm_@set@(p_epoch bigint) returns boolean
  language plpgsql volatile as $shovel$
begin
  if pg_catalog.current_setting('max_prepared_transactions') <> '0' or pg_catalog.pg_notification_queue_usage() >= 0.01 then
    return false;
  end if;
  perform pg_catalog.setval('@schema@.bell_@set@', 1);
  perform @schema@.turn_@set@(p_epoch, 0, 4);
  return true;
end
$shovel$;
