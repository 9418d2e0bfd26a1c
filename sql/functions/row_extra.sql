-- Purpose:    what the JSON of a row can't tell: the text of arrays whose lower bounds are not 1, of values that a
--             cast to json of their own would change, and which columns hold a JSON null
-- Parameters: r_ a row of any type; columns_ names to look at, null for all; texts_ names whose text is always given;
--             nested_ names of those with arrays or json values deeper inside, null where that is not known
-- Returns:    {"text":{"a":"[0:1]={1,2}"},"json_null":["j"]}; members that have nothing to say are left out; null if none
-- Method:     the row's own text has a field for each member of its JSON, in the same order, so no column is named
-- Called by:  capture functions: under settings or owners that are not trusted to print, and in the whole-row
--             fallback. Runs as the sandbox role.
-- Touches:    nothing
create or replace function @schema@.row_extra(r_ record, columns_ pg_catalog.text[], texts_ pg_catalog.text[], nested_ pg_catalog.text[]) returns pg_catalog.json
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
  printed constant text := format('%s', r_);
  image   text := row_to_json(r_)::text;
  mark    text;
  found   json;
begin
  -- json_each reads every string, and none may hold \u0000: another escape stands for it meanwhile.
  if strpos(image, '\u0000') > 0 then
    mark := '\ue000' || gen_random_uuid();
    image := replace(image, '\u0000', mark);
  end if;
  select json_strip_nulls(json_build_object(
           'text', json_object_agg(e.key, e.field) filter (where e.as_text),
           'json_null', json_agg(e.key) filter (where e.json_null and not e.as_text)))
    into found
  from (
    select d.key, d.field,
      d.raw <> '' and d.kind = 'null' as json_null,
      d.raw <> '' and (
        d.key = any (texts_)
        or d.kind = 'array' and d.field ~ '^(\[[-+]?[0-9]+:[-+]?[0-9]+\])+='
        or (d.key = any (coalesce(nested_, '{}'))
            or nested_ is null and strpos(d.value, 'null') > 0
               and (d.kind = 'array' and d.field like '{%' or d.kind = 'object' and d.field like '(%')
            or nested_ is null and d.kind = 'array' and d.value ~ '^\[\s*\[|,\s*\[')
           and (strpos(d.field, case when d.field like '{%' then '[' else ']={' end) > 0 or strpos(d.field, 'null') > 0)) as as_text
    from (
      select m.key, m.value::text as value, json_typeof(m.value) as kind, f.raw,
        case when f.raw like '"%'
             then replace(replace(substr(f.raw, 2, length(f.raw) - 2), '""', '"'), '\\', '\')
             else f.raw end as field
      from (select j.key, j.value, row_number() over () as n from json_each(image::json) j) m
      join (select x.part[1] as raw, row_number() over () as n
            from regexp_matches(',' || substr(printed, 2, length(printed) - 2), ',("(?:[^"]|"")*"|[^,"]*)', 'g') x(part)) f
        on f.n = m.n
      where columns_ is null or m.key = any (columns_)
    ) d
  ) e;
  if found::text = '{}' then
    return null;
  end if;
  return found;
end
$shovel$;
revoke all on function @schema@.row_extra(record, pg_catalog.text[], pg_catalog.text[], pg_catalog.text[]) from public;
grant execute on function @schema@.row_extra(record, pg_catalog.text[], pg_catalog.text[], pg_catalog.text[]) to @capture@;
grant create on schema @schema@ to @sandbox@;
alter function @schema@.row_extra(record, pg_catalog.text[], pg_catalog.text[], pg_catalog.text[]) owner to @sandbox@;
revoke create on schema @schema@ from @sandbox@;
