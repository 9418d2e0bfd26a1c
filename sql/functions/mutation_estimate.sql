-- Purpose:    how many mutations stand in a range of numbers of a set's log, without reading more than a few of them
-- Parameters: set_            the set's name
--             after_, until_  the range: numbers above after_, up to until_
--             before_         mutations that this snapshot shows do not count; null: all count
--             numbers_        how many numbers may be looked at, 100 or more
-- Returns:    mutations; bytes, uncompressed, 100 a row besides its texts; oldest, the earliest statement's time.
--             A range of up to numbers_ is counted. A longer one is looked at in pieces of 100 spread over it, and the
--             rest taken to be like them; when they hold nothing, mutations is null: there may be some all the same.
--             The caller's own mutations never count: a snapshot may show its own transaction, committed or not.
-- Called by:  mutation_figures, as the owner role
-- Touches:    reads the log through its index on seq
drop function if exists @schema@.mutation_estimate(text, bigint, bigint, pg_snapshot, bigint);
create function @schema@.mutation_estimate(
  set_ text, after_ bigint, until_ bigint, before_ pg_snapshot, numbers_ bigint,
  out mutations bigint, out bytes bigint, out oldest timestamptz)
  language plpgsql stable set search_path = pg_catalog, pg_temp as $shovel$
declare
  v_piece  constant bigint := 100;
  v_rows   bigint := 0;
  v_start  bigint := after_;
  v_pieces bigint := 1;
  v_step   bigint := until_ - after_;
  v_factor numeric := 1;
begin
  if until_ - after_ > numbers_ then
    -- Numbers may be missing by the billion before the oldest row. No row takes less than 80 bytes.
    select coalesce(sum(pg_relation_size(to_regclass(format('@schema@.%I', kind || i || '_' || set_)))), 0) / 80
      into v_rows from generate_series(0, 2) as i cross join unnest(array['log_', 'more_']) as kind;
    if v_rows > numbers_ then
      v_start := greatest(after_, until_ - v_rows);
      v_pieces := numbers_ / v_piece;
      v_step := (until_ - v_start) / v_pieces;
      v_factor := greatest(v_step::numeric / v_piece, 1);
    end if;
  end if;
  execute format($query$
    select count(*), coalesce(sum(l.bytes), 0), min(l.at)
    from generate_series(0, $4 - 1) as p(piece) cross join lateral (
      select l.at, 100 + coalesce(octet_length(l.old), 0) + coalesce(octet_length(l.new), 0)
        + coalesce(octet_length(l.extra), 0) as bytes
      from @schema@.%I l
      where l.seq > $1 + p.piece * $2 and l.seq <= $1 + p.piece * $2 + $3
        and pg_visible_in_snapshot(l.xid, pg_current_snapshot())
        and l.xid is distinct from pg_current_xact_id_if_assigned()
        and ($5 is null or not pg_visible_in_snapshot(l.xid, $5))) l
    $query$, 'log_' || set_)
    into mutations, bytes, oldest
    using v_start, v_step, case when v_pieces = 1 then v_step else least(v_piece, v_step) end, v_pieces, before_;
  if v_pieces > 1 and mutations = 0 then
    mutations := null;
  end if;
  mutations := ceil(mutations * v_factor);
  bytes := ceil(bytes * v_factor);
end
$shovel$;
comment on function @schema@.mutation_estimate(text, bigint, bigint, pg_snapshot, bigint) is
  'Counts the mutations of a short range of a log, and estimates those of a long one.';
revoke all on function @schema@.mutation_estimate(text, bigint, bigint, pg_snapshot, bigint) from public;
