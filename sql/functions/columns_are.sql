-- Purpose:    whether a table has the columns that a capture function was made for: their names and numbers, and no other
-- Parameters: relation_ the table; digest_ md5 of its schema, its name, and the names of its columns by their numbers, all
--             quoted and with a comma before each; of columns that were dropped just the comma, of the last ones none
-- Returns:    never null; false too where there is no such table, or it is called otherwise: a restored database may have
--             given its oid to another
-- Method:     the server's caches, which are as new as the locks that the writer holds, whatever its snapshot shows; no
--             lock is taken
-- Immutable:  it is not, and is said to be, so that a plan keeps the answer. A plan that names a table as a constant of
--             type regclass is made anew after any DDL on it, before a writer has its lock (docs/decisions/0051).
-- Called by:  capture functions while they are planned
create or replace function @schema@.columns_are(relation_ pg_catalog.regclass, digest_ pg_catalog.text)
  returns pg_catalog.bool language plpgsql immutable
  set search_path = pg_catalog, pg_temp
as $shovel$
declare
  place text[];
  names text;
begin
  for number in 0 .. 1600 loop
    place := (pg_identify_object_as_address('pg_class'::regclass, relation_, number)).object_names;
    exit when place is null;
    -- Of a column that was dropped, whatever it is called now, nobody has a privilege or none.
    names := case when number = 0 then format('%L,%L', place[1], place[2])
      else concat(names, ',', case when has_column_privilege(relation_, number::int2, 'select') is not null then quote_literal(place[3]) end) end;
  end loop;
  return coalesce(md5(rtrim(names, ',')) = digest_, false);
exception when others then
  return false;
end
$shovel$;
revoke all on function @schema@.columns_are(pg_catalog.regclass, pg_catalog.text) from public;
grant execute on function @schema@.columns_are(pg_catalog.regclass, pg_catalog.text) to @capture@;

-- Purpose:    stand where they are parsed and are never called: that fails unless all values are of one type
-- Called by:  nobody; named by capture functions, so that a column that got another type is noticed
create or replace function @schema@.of_one_type(anyelement, anyelement) returns pg_catalog.bool
  language sql immutable as $shovel$ select true $shovel$;
revoke all on function @schema@.of_one_type(anyelement, anyelement) from public;
grant execute on function @schema@.of_one_type(anyelement, anyelement) to @capture@;
create or replace function @schema@.all_of_one_type(variadic anyarray) returns pg_catalog.bool
  language sql immutable as $shovel$ select true $shovel$;
revoke all on function @schema@.all_of_one_type(anyarray) from public;
grant execute on function @schema@.all_of_one_type(anyarray) to @capture@;
