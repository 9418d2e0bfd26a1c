-- Purpose:    stores the order in which a nested ticket's mutations are published
-- Parameters: p_ticket; p_slots, p_sources  numbers at which mutations are published, and at which they were logged
-- Returns:    nothing. Storing the same order again changes nothing.
-- Touches:    inserts beside the ticket, into the segment that holds it
create or replace function @schema@.store_order_@set@(p_ticket bigint, p_slots bigint[], p_sources bigint[])
  returns void language plpgsql volatile as $shovel$
begin
  if exists (select from @schema@.ticket_0_@set@ t where t.ticket = p_ticket) then
    insert into @schema@.order_0_@set@ select * from unnest(p_slots, p_sources) on conflict do nothing;
  elsif exists (select from @schema@.ticket_1_@set@ t where t.ticket = p_ticket) then
    insert into @schema@.order_1_@set@ select * from unnest(p_slots, p_sources) on conflict do nothing;
  else
    insert into @schema@.order_2_@set@ select * from unnest(p_slots, p_sources) on conflict do nothing;
  end if;
end
$shovel$;
