/**
 * The tables behind the PostgreSQL coordinator. Made by the first multi that creates an entry at the top, and by
 * nothing else; the names are fixed, so that one database holds one coordinator with any number of clusters.
 */

export const CHANNEL = 'shovel_coordinator';

/** An advisory lock of the transaction that makes the schema: `create … if not exists` alone is no protection. */
export const CREATE_LOCK = "select pg_advisory_xact_lock(hashtext('shovel_coordinator'))";

/** Idempotent, one transaction. */
export const CREATE_SCHEMA = `
create schema if not exists shovel_coordinator;
comment on schema shovel_coordinator is 'shovel: configurations and decisions of replication sets';

create table if not exists shovel_coordinator.entry (
  path text collate "C" constraint entry_pkey primary key,
  parent text collate "C" constraint entry_parent_fkey references shovel_coordinator.entry (path),
  data text not null,
  version integer not null default 0 constraint entry_version_check check (version >= 0),
  constraint entry_parent_check check ((parent is null) = (path = '/'))
);
comment on table shovel_coordinator.entry is 'A tree of small texts; version counts the changes of data';
comment on column shovel_coordinator.entry.path is 'Absolute, parts of a-z 0-9 _ . - after slashes';
comment on column shovel_coordinator.entry.parent is 'Path without its last part; null for the root';
comment on column shovel_coordinator.entry.data is 'At most 1,000,000 bytes';
comment on column shovel_coordinator.entry.version is 'Starts at 0, one more with every change';
create index if not exists entry_parent_idx on shovel_coordinator.entry (parent);

create table if not exists shovel_coordinator.lease (
  path text collate "C" constraint lease_pkey primary key,
  parent text collate "C" not null constraint lease_parent_fkey references shovel_coordinator.entry (path),
  owner text not null,
  holder uuid not null,
  epoch bigint not null,
  since timestamptz not null,
  expires_at timestamptz not null
);
comment on table shovel_coordinator.lease is 'Who may act now; a row whose time is over holds nothing';
comment on column shovel_coordinator.lease.path is 'Named like an entry, but none';
comment on column shovel_coordinator.lease.parent is 'The entry that can not be removed meanwhile';
comment on column shovel_coordinator.lease.owner is 'What the holder said of itself, for people';
comment on column shovel_coordinator.lease.holder is 'One process';
comment on column shovel_coordinator.lease.epoch is 'From sequence lease_epoch: grows with every holder';
comment on column shovel_coordinator.lease.since is 'When it was taken';
comment on column shovel_coordinator.lease.expires_at is 'By the clock of this server';
create index if not exists lease_parent_idx on shovel_coordinator.lease (parent);

create sequence if not exists shovel_coordinator.lease_epoch;
comment on sequence shovel_coordinator.lease_epoch is 'Never set back, also when a lease''s row is gone';

insert into shovel_coordinator.entry (path, parent, data) values ('/', null, '') on conflict do nothing;
`;
