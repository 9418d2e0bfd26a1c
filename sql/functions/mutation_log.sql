-- Purpose:    the view mutation_log, a row per set and stream, for monitoring; see docs/mutation-log.md
-- Read by:    members of pg_monitor. The figures come from mutation_figures(), which runs as the owner role, so that
--             nobody needs a right on the log; the age of open transactions is what the reader's own rights show.
-- Touches:    reads tickets and, through its index, a few rows of each log; takes no lock that lasts.
--
-- Nothing is lost when this file is run again over the same columns. Over others, view and function are made anew
-- (PostgreSQL can't take a column out of either in place): rights given to roles other than pg_monitor are to be
-- given again then, and an object that depends on the view stops the change with an error that names it.
do $shape$
declare
  v_view constant text := 'set_name text, stream_name text, set_version integer, node_id uuid, ticket bigint, '
    'pending_mutations bigint, pending_bytes bigint, lag interval, mutations_per_second numeric, log_bytes bigint, '
    'oldest_open_transaction interval, relay_epoch bigint, relay_seen_at timestamp with time zone';
  v_function constant text := pg_catalog.replace(v_view, 'oldest_open_transaction interval, ', '');
begin
  if v_view is distinct from (
      select pg_catalog.string_agg(a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum)
      from pg_catalog.pg_attribute a where a.attrelid = pg_catalog.to_regclass('@schema@.mutation_log') and a.attnum > 0)
     or 'TABLE(' || v_function || ')' is distinct from
       pg_catalog.pg_get_function_result(pg_catalog.to_regprocedure('@schema@.mutation_figures()'))
     or 'TABLE(' || v_function || ')' is distinct from
       pg_catalog.pg_get_function_result(pg_catalog.to_regprocedure('@schema@.set_figures(text)')) then
    drop view if exists @schema@.mutation_log;
    drop function if exists @schema@.mutation_figures();
    drop function if exists @schema@.set_figures(text);
  end if;
end
$shape$;

-- Purpose:    the figures of mutation_log that need the log
-- Parameters: set_  of this set; null: of all
-- Returns:    a row per set and stream. A set whose log can't be read (half made, half removed, locked for long) has
--             null figures, never 0, and holds up no other; a message of level debug1 says why.
-- Correct:    0 pending means that all that was committed before the query began is out. Everything here sees the one
--             snapshot of the query (stable); positions and the log's sequence are read after it was taken. So what it
--             shows is in a ticket whose position was passed, or in one that is counted, or in no ticket that it shows:
--             then the newest ticket's snapshot does not show it, and it stands where window_floor says. A stretch too
--             long to be counted, in which nothing was found, counts as 1.
-- Locks:      each set is read in a block that ends in an exception, so that the locks on its log are given back at
--             once: who forgets to end a transaction in which the view was read keeps no segment from being truncated.
create or replace function @schema@.set_figures(set_ text)
  returns table (set_name text, stream_name text, set_version integer, node_id uuid, ticket bigint,
                 pending_mutations bigint, pending_bytes bigint, lag interval, mutations_per_second numeric,
                 log_bytes bigint, relay_epoch bigint, relay_seen_at timestamptz)
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '250ms'
  set enable_seqscan = off
  set jit = off
as $shovel$
#variable_conflict use_column
declare
  c_done    constant text := 'SHV99';
  -- Numbers of the log looked at to count what no ticket holds yet, and to learn how wide rows are.
  c_count   constant bigint := 20000;
  c_width   constant bigint := 1000;
  -- Beyond so many tickets a backlog is estimated by its numbers.
  c_tickets constant bigint := 50000;
  c_recent  constant integer := 2000;
  v_set     record;
  v_stream  record;
  v_last    record;
  v_drawn   record;
  v_recent  record;
  v_one     record;
  v_log     text;
  v_tickets text;
  v_read    boolean;
  v_ceiling bigint;
  v_floor   bigint;
  v_from    bigint;
  v_undrawn bigint;
  v_bytes   bigint;
  v_oldest  timestamptz;
  v_pending timestamptz;
  v_out     bigint;
begin
  for v_set in
    select r.set_name, r.set_version, r.node_id, h.epoch, h.relay_seen_at,
           h.settled_ticket, h.settled_snapshot, h.settled_floor
    from @schema@.replication_set r left join @schema@.set_head h on h.set_name = r.set_name
    where set_ is null or r.set_name = set_ order by r.set_name
  loop
    set_name := v_set.set_name;
    set_version := v_set.set_version;
    node_id := v_set.node_id;
    relay_epoch := v_set.epoch;
    relay_seen_at := v_set.relay_seen_at;
    log_bytes := null;
    mutations_per_second := null;
    v_log := format('@schema@.%I', 'log_' || v_set.set_name);
    v_tickets := format('@schema@.%I', 'ticket_' || v_set.set_name);
    begin
      select sum(pg_total_relation_size(to_regclass(format('@schema@.%I', kind || i || '_' || v_set.set_name))))
        into log_bytes from generate_series(0, 2) as i cross join unnest(array['log_', 'more_', 'ticket_']) as kind;
      execute format('select case when s.is_called then s.last_value else 0 end from @schema@.%I s', 'seq_' || v_set.set_name)
        into v_ceiling;
      execute format('select t.ticket, t.snapshot, t.floor_seq, t.last_seq from %s t order by t.ticket desc limit 1', v_tickets)
        into strict v_last;
      -- A later look of a relay that found nothing says more than the ticket: numbers of before need not be looked at.
      if v_set.settled_ticket = v_last.ticket then
        v_last.snapshot := v_set.settled_snapshot;
        v_last.floor_seq := v_set.settled_floor;
      end if;

      -- What no ticket holds: numbers above its floor, and those of transactions that were in flight and have ended.
      execute format('select @schema@.%I($1, $2, pg_current_snapshot())', 'window_floor_' || v_set.set_name)
        into v_floor using v_last.snapshot, v_last.floor_seq;
      v_undrawn := 0;
      v_bytes := 0;
      v_oldest := null;
      foreach v_from in array array[v_floor, v_last.floor_seq] loop
        select e.mutations, e.bytes, e.oldest into v_one from @schema@.mutation_estimate(v_set.set_name, v_from,
          case when v_from = v_last.floor_seq then v_ceiling else v_last.floor_seq end, v_last.snapshot, c_count) e;
        v_undrawn := v_undrawn + coalesce(v_one.mutations, 1);
        v_bytes := v_bytes + coalesce(nullif(v_one.bytes, 0), case when v_one.mutations is null then 100 else 0 end);
        v_oldest := least(v_oldest, v_one.oldest);
        exit when v_from = v_last.floor_seq;
      end loop;

      -- Rate: over the last minute, or over the time in which its mutations gathered if no relay was there to draw.
      execute format($query$
        select count(*) as tickets, coalesce(sum(t.mutations), 0)::bigint as mutations, min(t.drawn_at) as since,
               (array_agg(t.first_seq order by t.ticket))[1] as first_seq
        from (select t.ticket, t.mutations, t.drawn_at, t.first_seq from %s t order by t.ticket desc limit $1) t
        where t.drawn_at > clock_timestamp() - interval '1 minute'
        $query$, v_tickets) into v_recent using c_recent;
      execute format('select min(l.at) as at from %s l where l.seq = $1', v_log) into v_one using v_recent.first_seq;
      mutations_per_second := round((v_recent.mutations + v_undrawn) / greatest(extract(epoch from clock_timestamp() -
        case when v_recent.tickets = c_recent then v_recent.since
             else least(clock_timestamp() - interval '1 minute', v_one.at, case when v_recent.tickets = 0 then v_oldest end)
        end), 1)::numeric, 3);
      raise exception using errcode = c_done;
    exception
      when sqlstate 'SHV99' then v_read := true;
      when others then
        v_read := false;
        raise debug 'mutation_log, set %: %', v_set.set_name, sqlerrm;
    end;

    for v_stream in
      select s.stream_name, s.first_ticket, s.position_name
      from @schema@.stream s where s.set_name = v_set.set_name order by s.stream_name
    loop
      stream_name := v_stream.stream_name;
      ticket := null;
      pending_mutations := null;
      pending_bytes := null;
      lag := null;
      begin
        v_out := greatest(v_stream.first_ticket - 1,
          (pg_sequence_last_value(to_regclass(format('@schema@.%I', v_stream.position_name))) - 1) / 2);
        if not v_read or to_regclass(format('@schema@.%I', v_stream.position_name)) is null then
          raise exception using errcode = c_done;
        end if;
        ticket := v_out;
        pending_mutations := v_undrawn;
        pending_bytes := v_bytes;
        v_pending := v_oldest;
        if v_out < v_last.ticket then
          if v_last.ticket - v_out <= c_tickets then
            execute format($query$
              select sum(t.mutations)::bigint as mutations, min(t.first_seq) as first_seq, max(t.last_seq) as last_seq,
                     min(t.drawn_at) as drawn_at
              from %s t where t.ticket > $1 and t.ticket <= $2
              $query$, v_tickets) into v_drawn using v_out, v_last.ticket;
          else
            execute format($query$
              select greatest(coalesce($3, $4) - coalesce(t.first_seq, t.floor_seq), $2 - $1) as mutations,
                     coalesce(t.first_seq, t.floor_seq) as first_seq, coalesce($3, $4) as last_seq, t.drawn_at
              from %s t where t.ticket > $1 order by t.ticket limit 1
              $query$, v_tickets) into v_drawn using v_out, v_last.ticket, v_last.last_seq, v_last.floor_seq;
          end if;
          -- A ticket without mutations is still to be sent.
          pending_mutations := pending_mutations + greatest(v_drawn.mutations, 1);
          select e.mutations, e.bytes into v_one from @schema@.mutation_estimate(
            v_set.set_name, v_drawn.first_seq - 1, v_drawn.last_seq, null, c_width) e;
          pending_bytes := pending_bytes
            + ceil(greatest(v_drawn.mutations, 1) * coalesce(v_one.bytes::numeric / nullif(v_one.mutations, 0), 100));
          execute format('select min(l.at) as at from %s l where l.seq = $1', v_log) into v_one using v_drawn.first_seq;
          v_pending := least(v_pending, v_one.at, v_drawn.drawn_at);
        end if;
        lag := case when pending_mutations = 0 then interval '0'
                    when v_pending is not null then greatest(clock_timestamp() - v_pending, interval '0') end;
        raise exception using errcode = c_done;
      exception
        when sqlstate 'SHV99' then null;
        when others then
          pending_mutations := null;
          pending_bytes := null;
          lag := null;
          raise debug 'mutation_log, set %, stream %: %', v_set.set_name, v_stream.stream_name, sqlerrm;
      end;
      return next;
    end loop;
  end loop;
end
$shovel$;
comment on function @schema@.set_figures(text) is 'What the view mutation_log shows of one set, or of all.';

create or replace function @schema@.mutation_figures()
  returns table (set_name text, stream_name text, set_version integer, node_id uuid, ticket bigint,
                 pending_mutations bigint, pending_bytes bigint, lag interval, mutations_per_second numeric,
                 log_bytes bigint, relay_epoch bigint, relay_seen_at timestamptz)
  language sql stable security definer
  set search_path = pg_catalog, pg_temp
as $shovel$ select * from @schema@.set_figures(null) $shovel$;
comment on function @schema@.mutation_figures() is 'What the view mutation_log shows of sets, streams and their logs.';

create or replace view @schema@.mutation_log as
  select f.set_name, f.stream_name, f.set_version, f.node_id, f.ticket, f.pending_mutations, f.pending_bytes, f.lag,
    f.mutations_per_second, f.log_bytes, o.age as oldest_open_transaction, f.relay_epoch, f.relay_seen_at
  from @schema@.mutation_figures() f
  cross join (
    select pg_catalog.max(greatest(pg_catalog.clock_timestamp() - x.began, interval '0')) as age
    from (
      select a.xact_start as began from pg_catalog.pg_stat_activity a
      where a.datname = pg_catalog.current_database() and a.xact_start is not null
        and a.pid <> pg_catalog.pg_backend_pid() and a.backend_type is distinct from 'autovacuum worker'
      union all
      select p.prepared from pg_catalog.pg_prepared_xacts p where p.database = pg_catalog.current_database()
    ) x
  ) o;
comment on view @schema@.mutation_log is
  'How far each stream of each set is. Pending figures are estimates, and 0 only when nothing is pending; null where the log can''t be read.';

revoke all on function @schema@.mutation_figures(), @schema@.set_figures(text) from public;
grant usage on schema @schema@ to pg_monitor;
grant execute on function @schema@.mutation_figures() to pg_monitor;
grant select on @schema@.mutation_log to pg_monitor;
