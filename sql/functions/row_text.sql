-- Purpose:    the JSON text of a row under the settings that every published value is written with
-- Parameters: r_ a row of any type
-- Returns:    what row_to_json prints with those settings
-- Called by:  capture functions: when the writer's own settings differ, when a row must be captured without naming
--             its columns, and always where a role that is not trusted with the log may define casts to json. Runs as
--             the sandbox role, so that such a cast may do nothing.
-- Touches:    nothing
create or replace function @schema@.row_text(r_ record) returns pg_catalog.text
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
  return row_to_json(r_)::text;
end
$shovel$;
revoke all on function @schema@.row_text(record) from public;
grant execute on function @schema@.row_text(record) to @capture@;
grant create on schema @schema@ to @sandbox@;
alter function @schema@.row_text(record) owner to @sandbox@;
revoke create on schema @schema@ from @sandbox@;
