-- Schema of a node: what one database knows of the sets that capture from it. Run once per node as the owner role;
-- frozen once released. @schema@ and the roles @owner@, @capture@ and @sandbox@ are filled in by src/postgres/migrate.ts.

create table @schema@.replication_set (
  set_name          text        constraint replication_set_pkey primary key,
  database_name     text        not null,
  node_id           uuid        not null constraint replication_set_node_id_key unique,
  incarnation       integer     not null constraint replication_set_incarnation_check check (incarnation >= 1),
  set_version       integer     not null constraint replication_set_version_check check (set_version >= 1),
  intent_id         uuid        not null,
  content_hash      text        not null,
  document          text        not null,
  system_identifier text        not null,
  database_oid      oid         not null,
  decided_at        timestamptz not null default now()
);
comment on table @schema@.replication_set is
  'One row per set that captures from this database: the decided version with its whole document. Locked by prepared configuration changes, so nothing that draws or publishes may lock it.';

create table @schema@.staged_version (
  intent_id    uuid        constraint staged_version_pkey primary key,
  set_name     text        not null,
  set_version  integer     not null,
  content_hash text        not null,
  document     text        not null,
  staged_at    timestamptz not null default now()
);
comment on table @schema@.staged_version is
  'Versions stored but not active, on nodes without prepared transactions: activated once the coordinator has decided.';

create table @schema@.intent (
  intent_id uuid        constraint intent_pkey primary key,
  set_name  text        not null,
  state     text        not null constraint intent_state_check check (state in ('open', 'aborted')),
  opened_at timestamptz not null default now()
);
comment on table @schema@.intent is
  'Configuration changes that were begun here and not yet finished. A change may only prepare while its row says open.';

create table @schema@.set_head (
  set_name      text   constraint set_head_pkey primary key,
  epoch         bigint not null default 0,
  relay_owner   text,
  relay_since   timestamptz,
  relay_seen_at timestamptz
) with (fillfactor = 50);
comment on table @schema@.set_head is
  'One row per set, locked while a ticket is drawn. epoch rises each time a relay takes the set over and fences the one before.';

create table @schema@.captured_table (
  rel             integer generated always as identity constraint captured_table_pkey primary key,
  set_name        text    not null,
  set_version     integer not null,
  schema_name     text    not null,
  table_name      text    not null,
  relid           oid     not null,
  definition      text    not null,
  definition_hash text    not null,
  constraint captured_table_set_version_key unique (set_name, set_version, schema_name, table_name)
);
comment on table @schema@.captured_table is
  'What a mutation''s rel means: the table as its capture functions were made for one version. Publishing reads this, never the catalog.';

create table @schema@.stream (
  set_name      text   not null,
  stream_name   text   not null,
  since_version integer not null,
  first_ticket  bigint not null,
  position_name text   not null,
  constraint stream_pkey primary key (set_name, stream_name)
);
comment on table @schema@.stream is
  'Streams of each set. position_name is a sequence: 2*ticket while that ticket is being sent, 2*ticket+1 once it is out. A sequence is changed in place, so positions never bloat.';

grant usage on schema @schema@ to @capture@;
