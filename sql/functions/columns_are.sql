-- Purpose:    whether a table has the columns that a capture function was made for: their names and numbers, and no other
-- Parameters: relation_ the table; count_ the highest number of a column that it had; digest_ md5 of the text of an array
--             of its schema, its name, and the names of the columns by their numbers, empty for one that was dropped
-- Returns:    never null; false too where there is no such table, or it is called otherwise: a restored database may have
--             given its oid to another
-- Method:     the server's caches, which are as new as the locks that the writer holds, whatever its snapshot shows; no
--             lock is taken
-- Immutable:  it is not, and is said to be, so that a plan keeps the answer. A plan that names a table as a constant of
--             type regclass is made anew after any DDL on it, before a writer has its lock (docs/decisions/0051).
-- Called by:  capture functions while they are planned
create or replace function @schema@.columns_are(relation_ pg_catalog.regclass, count_ pg_catalog.int4, digest_ pg_catalog.text)
  returns pg_catalog.bool language plpgsql immutable
  set search_path = pg_catalog, pg_temp
as $shovel$
declare
  names  text[] := (pg_identify_object_as_address('pg_class'::regclass, relation_, 0)).object_names;
  name   text;
  number int2 := 0;
begin
  loop
    number := number + 1;
    name := (pg_identify_object_as_address('pg_class'::regclass, relation_, number)).object_names[3];
    exit when name is null;
    -- Of a column that was dropped, whatever it is called now, nobody has a privilege or none.
    if has_column_privilege(relation_, number, 'select') is null then
      name := '';
    end if;
    if number <= count_ then
      names := names || name;
    elsif name <> '' then
      return false;
    end if;
  end loop;
  return coalesce(md5(names::text) = digest_, false);
exception when others then
  return false;
end
$shovel$;
revoke all on function @schema@.columns_are(pg_catalog.regclass, pg_catalog.int4, pg_catalog.text) from public;
grant execute on function @schema@.columns_are(pg_catalog.regclass, pg_catalog.int4, pg_catalog.text) to @capture@;

-- Purpose:    stands where it is parsed and never called: that fails unless both values are of one type
-- Called by:  nobody; named by capture functions, so that a column that got another type is noticed
create or replace function @schema@.of_one_type(anyelement, anyelement) returns pg_catalog.bool
  language sql immutable as $shovel$ select true $shovel$;
revoke all on function @schema@.of_one_type(anyelement, anyelement) from public;
grant execute on function @schema@.of_one_type(anyelement, anyelement) to @capture@;
