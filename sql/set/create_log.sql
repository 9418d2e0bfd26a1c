-- The mutation log of set @set@ and the tickets over it. Run as the owner role, once per set and node.
--
-- Three segments take turns. Which one writers use is the value of a sequence (switch_@set@), because a sequence is
-- read without a snapshot and without a lock that could make a writer wait:
--   value = segment (0 to 2) + 4 if an idle relay wants to be notified + 8 if capture is suspended.
-- No object of one set is called what one of another set could be: a set's name begins with a letter, and stands last.
-- Nothing is ever deleted; a segment whose every transaction all streams have published is truncated as a whole.

create sequence @schema@.seq_@set@ as bigint cache 1;
comment on sequence @schema@.seq_@set@ is 'Numbers the mutations of set @set@. CACHE 1: a row''s order is the order of its numbers.';

create sequence @schema@.switch_@set@ as bigint minvalue 0 start 0;
select pg_catalog.setval('@schema@.switch_@set@', 0);
comment on sequence @schema@.switch_@set@ is 'Read by the capture functions of set @set@: segment + 4 * notify + 8 * suspended.';

create sequence @schema@.bell_@set@ as bigint minvalue 0 start 0;
select pg_catalog.setval('@schema@.bell_@set@', 0);
comment on sequence @schema@.bell_@set@ is 'Read by the capture functions of set @set@ while the switch says notify: 1 if nobody has notified since an idle relay asked for it.';

-- Most rows have one image and nothing to be said besides. They stand in the segments' narrow tables, for what a row costs
-- the writer grows with the number of columns that its table has; all others stand in tables that inherit from these,
-- so that whoever reads, locks or truncates a segment has both.
create table @schema@.log_0_@set@ (
  seq   bigint      not null default pg_catalog.nextval('@schema@.seq_@set@'),
  xid   xid8        not null default pg_catalog.pg_current_xact_id(),
  at    timestamptz not null default pg_catalog.statement_timestamp(),
  old_xmin xid,
  rel   integer     not null,
  old_ctid tid,
  new_ctid tid,
  op    "char"      not null,
  image text
) with (autovacuum_enabled = off, toast.autovacuum_enabled = off);
comment on table @schema@.log_0_@set@ is
  'Mutation log of set @set@. rel: table and version, a row of captured_table; 0 of application context. op: I U D T; K an update that changed the key (U has no old image unless the table asks for one: its key stands in the new one); M application context. image: the new row, here of D the old one. old_ctid, new_ctid, old_xmin: which versions of the row the mutation ended and began, for putting nested writes in order.';
create index seq_0_@set@ on @schema@.log_0_@set@ (seq);
create table @schema@.more_0_@set@ (
  mark  "char",
  leaf  oid,
  meta  bigint,
  old   text,
  extra text
) inherits (@schema@.log_0_@set@) with (autovacuum_enabled = off, toast.autovacuum_enabled = off);
comment on table @schema@.more_0_@set@ is
  'Rows of the mutation log of set @set@ that need more than others. mark: f whole-row fallback, o oversized, u unreadable. leaf: the partition. meta: seq of the M row that applies. old: the old image; image is the new one, null of D.';
create index mseq_0_@set@ on @schema@.more_0_@set@ (seq);

create table @schema@.log_1_@set@ (like @schema@.log_0_@set@ including all excluding indexes)
  with (autovacuum_enabled = off, toast.autovacuum_enabled = off);
create index seq_1_@set@ on @schema@.log_1_@set@ (seq);
create table @schema@.more_1_@set@ (mark "char", leaf oid, meta bigint, old text, extra text)
  inherits (@schema@.log_1_@set@) with (autovacuum_enabled = off, toast.autovacuum_enabled = off);
create index mseq_1_@set@ on @schema@.more_1_@set@ (seq);
create table @schema@.log_2_@set@ (like @schema@.log_0_@set@ including all excluding indexes)
  with (autovacuum_enabled = off, toast.autovacuum_enabled = off);
create index seq_2_@set@ on @schema@.log_2_@set@ (seq);
create table @schema@.more_2_@set@ (mark "char", leaf oid, meta bigint, old text, extra text)
  inherits (@schema@.log_2_@set@) with (autovacuum_enabled = off, toast.autovacuum_enabled = off);
create index mseq_2_@set@ on @schema@.more_2_@set@ (seq);

create view @schema@.log_@set@ as
  select l.seq, l.xid, l.at, l.old_xmin, l.rel, l.old_ctid, l.new_ctid, l.op, l.mark, l.leaf, l.meta, l.old, l.new, l.extra,
    (select c.set_version from @schema@.captured_table c where c.rel = l.rel) as ver
  from (
    select n.seq, n.xid, n.at, n.old_xmin, n.rel, n.old_ctid, n.new_ctid, n.op, null::"char" as mark, null::oid as leaf,
      null::bigint as meta, case when n.op = 'D' then n.image end as old, case when n.op <> 'D' then n.image end as new,
      null::text as extra from only @schema@.log_0_@set@ n union all
    select m.seq, m.xid, m.at, m.old_xmin, m.rel, m.old_ctid, m.new_ctid, m.op, m.mark, m.leaf, m.meta, m.old, m.image, m.extra
      from @schema@.more_0_@set@ m union all
    select n.seq, n.xid, n.at, n.old_xmin, n.rel, n.old_ctid, n.new_ctid, n.op, null::"char" as mark, null::oid as leaf,
      null::bigint as meta, case when n.op = 'D' then n.image end as old, case when n.op <> 'D' then n.image end as new,
      null::text as extra from only @schema@.log_1_@set@ n union all
    select m.seq, m.xid, m.at, m.old_xmin, m.rel, m.old_ctid, m.new_ctid, m.op, m.mark, m.leaf, m.meta, m.old, m.image, m.extra
      from @schema@.more_1_@set@ m union all
    select n.seq, n.xid, n.at, n.old_xmin, n.rel, n.old_ctid, n.new_ctid, n.op, null::"char" as mark, null::oid as leaf,
      null::bigint as meta, case when n.op = 'D' then n.image end as old, case when n.op <> 'D' then n.image end as new,
      null::text as extra from only @schema@.log_2_@set@ n union all
    select m.seq, m.xid, m.at, m.old_xmin, m.rel, m.old_ctid, m.new_ctid, m.op, m.mark, m.leaf, m.meta, m.old, m.image, m.extra
      from @schema@.more_2_@set@ m) l;
comment on view @schema@.log_@set@ is
  'All segments of the mutation log of set @set@. old, new: the images of the row. ver: the set''s version under which it was captured.';

create table @schema@.ticket_0_@set@ (
  ticket      bigint      not null constraint key_ticket_0_@set@ primary key,
  snapshot    pg_snapshot not null,
  floor_seq   bigint      not null,
  first_seq   bigint,
  last_seq    bigint,
  mutations   bigint      not null,
  set_version integer     not null,
  drawn_at    timestamptz not null,
  nested      boolean     not null default false
) with (autovacuum_enabled = off);
comment on table @schema@.ticket_0_@set@ is
  'Tickets of set @set@: the batch of a ticket is what its snapshot shows and the one before does not. floor_seq: every transaction that the snapshot neither shows nor names as in progress has only higher numbers. nested: read through order_@set@. Kept and truncated with the log segment of the same number.';
create table @schema@.ticket_1_@set@ (
  like @schema@.ticket_0_@set@ including all excluding indexes, constraint key_ticket_1_@set@ primary key (ticket)
) with (autovacuum_enabled = off);
create table @schema@.ticket_2_@set@ (
  like @schema@.ticket_0_@set@ including all excluding indexes, constraint key_ticket_2_@set@ primary key (ticket)
) with (autovacuum_enabled = off);
create view @schema@.ticket_@set@ as
  select * from @schema@.ticket_0_@set@ union all
  select * from @schema@.ticket_1_@set@ union all
  select * from @schema@.ticket_2_@set@;
comment on view @schema@.ticket_@set@ is 'All tickets of set @set@ that are still kept.';

create table @schema@.order_0_@set@ (
  slot   bigint not null constraint key_order_0_@set@ primary key,
  source bigint not null
) with (autovacuum_enabled = off);
comment on table @schema@.order_0_@set@ is
  'Where nested writes were logged in another order than they happened in: the number at which a mutation is published (slot), and at which it was logged (source). A row with slot = -ticket says that the ticket''s order is complete.';
create table @schema@.order_1_@set@ (
  like @schema@.order_0_@set@ including all excluding indexes, constraint key_order_1_@set@ primary key (slot)
) with (autovacuum_enabled = off);
create table @schema@.order_2_@set@ (
  like @schema@.order_0_@set@ including all excluding indexes, constraint key_order_2_@set@ primary key (slot)
) with (autovacuum_enabled = off);
create view @schema@.order_@set@ as
  select * from @schema@.order_0_@set@ union all
  select * from @schema@.order_1_@set@ union all
  select * from @schema@.order_2_@set@;
comment on view @schema@.order_@set@ is 'All segments of the order of nested writes in set @set@.';

-- Ticket 0 is the state before the first mutation: whoever writes one is in progress now, or comes later.
insert into @schema@.ticket_0_@set@ (ticket, snapshot, floor_seq, mutations, set_version, drawn_at)
  values (0, pg_catalog.pg_current_snapshot(), 0, 0, 0, pg_catalog.clock_timestamp());

create table @schema@.segment_@set@ (
  segment     integer not null constraint key_segment_@set@ primary key,
  closed_xmax xid8
);
comment on table @schema@.segment_@set@ is
  'closed_xmax: no transaction from this xid on writes into the segment; an id given out after the switch was turned, never a snapshot''s xmax, beyond which others may be in progress. Null while it is in use.';
insert into @schema@.segment_@set@ (segment) values (0), (1), (2);

grant insert on @schema@.log_0_@set@, @schema@.log_1_@set@, @schema@.log_2_@set@,
  @schema@.more_0_@set@, @schema@.more_1_@set@, @schema@.more_2_@set@ to @capture@;
grant usage on sequence @schema@.seq_@set@ to @capture@;
grant select on sequence @schema@.switch_@set@ to @capture@;
grant select, update on sequence @schema@.bell_@set@ to @capture@;

insert into @schema@.set_head (set_name) values ('@set@') on conflict do nothing;
