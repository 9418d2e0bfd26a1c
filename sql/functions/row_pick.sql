-- Purpose:    the JSON text of some columns of a row, under the settings of row_text; columns are named as data, so
--             that one which is gone or renamed is left out instead of failing the application's write
-- Parameters: r_ a row of any type; columns_ names to keep; strict_ whether a missing one is an error
-- Returns:    a JSON object, columns in the row's order; an object without members where none is left
-- Raises:     undefined_column
-- Called by:  capture functions, like row_text, where a table's columns are chosen. Runs as the sandbox role.
-- Touches:    nothing
create or replace function @schema@.row_pick(r_ record, columns_ pg_catalog.text[], strict_ pg_catalog.bool) returns pg_catalog.text
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set "TimeZone" = 'UTC'
  set "DateStyle" = 'ISO'
  set "IntervalStyle" = 'iso_8601'
  set bytea_output = 'hex'
  set extra_float_digits = 1
  set lc_monetary = 'C'
  set quote_all_identifiers = off
  set standard_conforming_strings = on
as $shovel$
declare
  image  text := row_to_json(r_)::text;
  mark   text;
  picked text;
  found  int8;
begin
  -- json_each reads every string, and none may hold \u0000: another escape stands for it meanwhile.
  if strpos(image, '\u0000') > 0 then
    mark := '\ue000' || gen_random_uuid();
    image := replace(image, '\u0000', mark);
  end if;
  select json_object_agg(m.key, m.value)::text, count(*) into picked, found
    from json_each(image::json) m where m.key = any (columns_);
  if strict_ and found <> cardinality(columns_) then
    raise undefined_column;
  end if;
  return coalesce(case when mark is null then picked else replace(picked, mark, '\u0000') end, '{}');
end
$shovel$;
revoke all on function @schema@.row_pick(record, pg_catalog.text[], pg_catalog.bool) from public;
grant execute on function @schema@.row_pick(record, pg_catalog.text[], pg_catalog.bool) to @capture@;
grant create on schema @schema@ to @sandbox@;
alter function @schema@.row_pick(record, pg_catalog.text[], pg_catalog.bool) owner to @sandbox@;
revoke create on schema @schema@ from @sandbox@;
