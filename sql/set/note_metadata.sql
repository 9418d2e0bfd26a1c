-- Purpose:    logs the transaction's application context (setting shovel.metadata), once per value
-- Returns:    the number of the log row that holds it
-- Called by:  capture functions, when the setting is not empty
-- Touches:    inserts into the log; the transaction-local setting shovel.noted_@set@ remembers "number:context", and a
--             savepoint that rolls back takes it along with the row. What an application writes into that setting by
--             itself can make nothing fail: a number that is none of its own is ignored by the relay.
create or replace function @schema@.note_metadata_@set@() returns pg_catalog.int8
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $shovel$
declare
  context constant text := current_setting('shovel.metadata', true);
  noted   constant text := coalesce(current_setting('shovel.noted_@set@', true), '');
  switch  constant int8 := pg_sequence_last_value('@schema@.switch_@set@');
  number  int8;
begin
  if substr(noted, strpos(noted, ':') + 1) = context and noted ~ '^[0-9]{1,18}:' then
    return split_part(noted, ':', 1)::int8;
  end if;
  -- 8 and above while capture is suspended; 4 asks for a bell, which the capture function rings.
  if switch >= 8 then
    return null;
  end if;
  number := nextval('@schema@.seq_@set@');
  case switch & 3
    when 0 then insert into @schema@.log_0_@set@ (seq, rel, op, image) values (number, 0, 'M', context);
    when 1 then insert into @schema@.log_1_@set@ (seq, rel, op, image) values (number, 0, 'M', context);
    when 2 then insert into @schema@.log_2_@set@ (seq, rel, op, image) values (number, 0, 'M', context);
    else return null;
  end case;
  perform set_config('shovel.noted_@set@', number || ':' || context, true);
  return number;
end
$shovel$;
