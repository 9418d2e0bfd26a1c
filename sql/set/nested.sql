-- Purpose:    finds the mutations of a batch that nested writes may have logged in another order than they happened in
-- Parameters: p_before, p_now  the snapshots that the batch lies between
--             p_first, p_last  its lowest and highest number
-- Returns:    per transaction and table (by the lowest rel that it has in the batch: a transaction may have been captured
--             under several versions), the mutations that hang together with an inversion, as model/nested-order.ts
--             takes them; none in nearly every batch
-- Method:     in log order, each mutation of a key either goes on from the version that the one before began, or takes
--             the key after the one before gave it up. Where neither holds, two of them are turned round. That is looked
--             at only in transactions that ended a version of their own (old_xmin), or took a key before they ended an
--             older row: without one of these nothing can be. From there on, whatever shares a version or a key.
--             Reading a member unescapes every string, and none may hold \u0000, so another escape stands for it. What
--             statement triggers logged has no ctids and is left as it is. Where a table's inserts, updates or deletes
--             are not captured, nobody knows who held a key in between: the versions' places alone decide.
-- Touches:    reads the log
create or replace function @schema@.nested_@set@(p_before pg_snapshot, p_now pg_snapshot, p_first bigint, p_last bigint)
  returns table (xid xid8, rel integer, seq bigint, op "char", place text, emptied boolean,
                 old_ctid tid, new_ctid tid, old_key text, new_key text)
  language plpgsql volatile as $shovel$
#variable_conflict use_column
begin
  return query
  with known as materialized (
    select c.rel as version, min(c.rel) over (partition by c.relid) as rel from @schema@.captured_table c
    where c.rel in (select l.rel from @schema@.log_@set@ l where l.seq >= p_first and l.seq <= p_last)
  ),
  batch as materialized (
    select l.seq, l.xid, l.rel as version, k.rel, l.op, coalesce(l.mark, '-') as mark, coalesce(l.leaf, 0) as leaf, l.old_ctid, l.new_ctid,
           -- Numbers given out since the transaction's own, its subtransactions' among them; round the wrap too.
           coalesce(((l.old_xmin::text::bigint - (l.xid::text::bigint & 4294967295)) & 4294967295) < 2147483648, false) as own
    from @schema@.log_@set@ l join known k on k.version = l.rel
    where l.seq >= p_first and l.seq <= p_last and l.op in ('I', 'U', 'K', 'D', 'T')
      and (l.op = 'T' or l.old_ctid is not null or l.new_ctid is not null)
      and pg_catalog.pg_visible_in_snapshot(l.xid, p_now) and not pg_catalog.pg_visible_in_snapshot(l.xid, p_before)
  ),
  suspects as (
    select b.xid, b.rel from batch b group by b.xid, b.rel
    having bool_or(b.own)
      or min(b.seq) filter (where b.op in ('I', 'K') or b.mark = 'f')
         < max(b.seq) filter (where (b.op in ('D', 'K') or b.mark = 'f') and not b.own)
  ),
  keyed as materialized (
    select b.*,
      b.leaf || ':' || count(*) filter (where b.op = 'T') over (partition by b.xid, b.rel, b.leaf order by b.seq) as place,
      count(*) filter (where b.op = 'T') over (partition by b.xid, b.rel, b.leaf order by b.seq
        rows between 1 following and unbounded following) > 0 as emptied,
      case when b.op in ('U', 'K', 'D') then k.old_key end as old_key,
      case when b.op = 'U' and b.mark <> 'f' then k.old_key when b.op in ('I', 'U', 'K') then k.new_key end as new_key
    from suspects s join batch b on b.xid = s.xid and b.rel = s.rel
    join @schema@.captured_table c on c.rel = b.version
    join @schema@.log_@set@ l on l.seq = b.seq
    cross join lateral (
      select string_agg((replace(coalesce(l.old, l.new), '\u0000', '\ue000')::json -> n.name)::text, ',' order by n.at) as old_key,
             case when b.op <> 'U' or b.mark = 'f' then string_agg((replace(l.new, '\u0000', '\ue000')::json -> n.name)::text, ',' order by n.at) end as new_key
      from json_array_elements_text(case when (c.definition::jsonb -> 'operations') ?& array['insert', 'update', 'delete']
        then coalesce(nullif((c.definition::json -> 'key')::text, 'null')::json, '[]') else '[]' end) with ordinality n(name, at)
    ) k
  ),
  token as materialized (
    select e.xid, e.rel, e.seq, t.token from keyed e
    cross join lateral (values ('c' || e.place || e.old_ctid::text), ('c' || e.place || e.new_ctid::text),
                               ('k' || e.old_key), ('k' || e.new_key)) t(token)
    where t.token is not null
  ),
  touch as (
    select e.xid, e.rel, e.seq, e.place, e.old_ctid, e.new_ctid, k.key,
      e.old_key is not distinct from k.key and e.new_key is distinct from k.key as frees,
      e.new_key is not distinct from k.key and e.old_key is distinct from k.key as takes
    from keyed e cross join lateral (select e.old_key union select e.new_key) k(key)
    where k.key is not null
  ),
  pair as (
    select t.*, lag(t.seq) over w as before_seq, lag(t.frees) over w as before_frees,
      lag(t.place) over w as before_place, lag(t.new_ctid) over w as before_ctid
    from touch t window w as (partition by t.xid, t.rel, t.key order by t.seq)
  ),
  seed as (
    select p.xid, p.rel, s.seq from pair p cross join lateral (values (p.seq), (p.before_seq)) s(seq)
    where p.before_seq is not null
      and not (p.before_frees and p.takes)
      and not (p.place = p.before_place and p.old_ctid is not distinct from p.before_ctid and p.old_ctid is not null)
  union
    select early.xid, early.rel, early.seq from keyed early
    join keyed late on late.xid = early.xid and late.rel = early.rel and late.place = early.place
      and late.new_ctid = early.old_ctid and late.seq > early.seq
    where early.own
  ),
  involved as (
    with recursive reached(xid, rel, token) as (
      select t.xid, t.rel, t.token from seed s join token t on t.xid = s.xid and t.rel = s.rel and t.seq = s.seq
    union
      select other.xid, other.rel, other.token from reached r
      join token t on t.xid = r.xid and t.rel = r.rel and t.token = r.token
      join token other on other.xid = t.xid and other.rel = t.rel and other.seq = t.seq
    )
    select distinct t.xid, t.rel, t.seq from reached r
    join token t on t.xid = r.xid and t.rel = r.rel and t.token = r.token
  )
  select e.xid, e.rel, e.seq, e.op, e.place, e.emptied, e.old_ctid, e.new_ctid, e.old_key, e.new_key
  from involved i join keyed e on e.seq = i.seq
  where e.op <> 'T' order by e.xid, e.rel, e.seq;
end
$shovel$;
