-- Purpose:    what a TRUNCATE of a partition alone says about it, as it is at that moment
-- Parameters: relid_ the table that was truncated
-- Returns:    {"name":"public.p_1","bound":"FOR VALUES …"}, name and bound as psql prints them; bound null of what is no
--             partition; null where the table is unknown
-- Called by:  the capture functions of partitioned tables. Runs as the sandbox role, under the settings that every
--             published value is written with: a bound's constants are printed by their types.
-- Touches:    reads the catalog
create or replace function @schema@.partition_place(relid_ pg_catalog.oid) returns pg_catalog.text
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set "TimeZone" = 'UTC'
  set "DateStyle" = 'ISO'
  set "IntervalStyle" = 'iso_8601'
  set bytea_output = 'hex'
  set extra_float_digits = 1
  set lc_monetary = 'C'
  set quote_all_identifiers = off
as $shovel$
begin
  return (
    select json_build_object('name', format('%I.%I', n.nspname, c.relname), 'bound', pg_get_expr(c.relpartbound, c.oid))
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relid_);
end
$shovel$;
revoke all on function @schema@.partition_place(oid) from public;
grant execute on function @schema@.partition_place(oid) to @capture@;
grant create on schema @schema@ to @sandbox@;
alter function @schema@.partition_place(oid) owner to @sandbox@;
revoke create on schema @schema@ from @sandbox@;
