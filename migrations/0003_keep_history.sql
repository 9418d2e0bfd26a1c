--! minimum-version: 0.1.0
-- What a node remembers besides the present: every version that was decided for it, so that a coordinator which was
-- lost gets its history back, and what the relay met that was not captured as its version says.

create table @schema@.decided_version (
  set_name    text        not null,
  set_version integer     not null,
  document    text        not null,
  stored_at   timestamptz not null default now(),
  constraint decided_version_pkey primary key (set_name, set_version)
);
comment on table @schema@.decided_version is
  'Every version that this database was brought to, with its whole document; goes with the set. Written by configuration changes alone. No foreign key: making one would wait for a change that is prepared.';

insert into @schema@.decided_version (set_name, set_version, document)
  select r.set_name, r.set_version, r.document from @schema@.replication_set r;

create table @schema@.capture_drift (
  set_name   text        not null,
  rel        integer     not null,
  mark       "char"      not null,
  mutations  bigint      not null,
  last_seq   bigint      not null,
  first_seen timestamptz not null default clock_timestamp(),
  last_seen  timestamptz not null default clock_timestamp(),
  constraint capture_drift_pkey primary key (set_name, rel, mark)
) with (fillfactor = 50);
comment on table @schema@.capture_drift is
  'Mutations that the relay met with a mark, by captured table: f captured whole because the function did not fit the row, o oversized, u unreadable. A new version of the set has new tables, and begins with none. One row per table and mark, written every few seconds at most.';
