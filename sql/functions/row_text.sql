-- Purpose:    the JSON text of a row under the settings that every published value is written with
-- Parameters: r_ a row of any type
-- Returns:    what row_to_json prints with those settings
-- Called by:  capture functions, only when the writer's own settings differ (see src/capture/pinned-settings.ts)
-- Touches:    nothing
create or replace function @schema@.row_text(r_ record) returns pg_catalog.text
  language plpgsql stable
  set search_path = pg_catalog
  set "TimeZone" = 'UTC'
  set "DateStyle" = 'ISO'
  set "IntervalStyle" = 'iso_8601'
  set bytea_output = 'hex'
  set extra_float_digits = 1
  set lc_monetary = 'C'
  set quote_all_identifiers = off
as $shovel$
begin
  return pg_catalog.row_to_json(r_)::pg_catalog.text;
end
$shovel$;
