--! minimum-version: 0.1.0
-- What is known of a set's limits, and whether its capture is suspended: in the row that drawing locks anyway.
alter table @schema@.set_head
  add column watched_at timestamptz,
  add column log_bytes bigint,
  add column lag interval,
  add column over_limits text[],
  add column over_since timestamptz,
  add column settled_ticket bigint,
  add column settled_snapshot pg_snapshot,
  add column settled_floor bigint,
  add column suspended_at timestamptz,
  add column suspended_reason text,
  add column suspended_ticket bigint,
  add column suspended_incarnation integer,
  add column resuming_since timestamptz;
comment on column @schema@.set_head.watched_at is
  'When log_bytes and lag were last held against the set''s limits; over_limits names those that were passed, since over_since.';
comment on column @schema@.set_head.settled_ticket is
  'At settled_snapshot nothing was pending beyond this ticket; settled_floor is a floor for that snapshot. Means nothing once a newer ticket is drawn.';
comment on column @schema@.set_head.suspended_incarnation is
  'Capture was suspended in this incarnation (at suspended_at, for suspended_reason): no ticket beyond suspended_ticket is drawn before the node is taken on again as a higher one. resuming_since: that has begun, and capture is on again.';
