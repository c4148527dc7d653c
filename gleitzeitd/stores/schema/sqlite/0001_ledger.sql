-- The numbers that name rows are made, so that what is read together lies together:
--   task.id  = workflow.serial * 2^20 + position: the tasks of a workflow, in document order
--   value.id = task.id * 4 + kind: parameters 0, result 1, output 2
--   feed.id  = shard * 2^48 + number: the entries of a shard, in order
-- Lists and tables are JSON. Times are ISO 8601, UTC; '' is none.

CREATE TABLE workflow (
    serial         INTEGER PRIMARY KEY AUTOINCREMENT,  -- never that of a deleted one
    workflow_id    TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL,
    shard          INTEGER NOT NULL,
    digest         TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    timeout        REAL,
    state          TEXT NOT NULL,
    reason         TEXT NOT NULL,
    error          TEXT,
    tasks          INTEGER NOT NULL,
    open_tasks     INTEGER NOT NULL,  -- not yet ended
    last_number    INTEGER NOT NULL,  -- of its last feed entry
    submitted_at   TEXT NOT NULL,
    finished_at    TEXT NOT NULL
) STRICT;

-- A shard's unfinished workflows, by id.
CREATE INDEX workflow_open ON workflow (shard, workflow_id) WHERE state IN ('running', 'cancelling');
-- Listings, newest first, and how many there are of each state.
CREATE INDEX workflow_submitted ON workflow (submitted_at, workflow_id);
CREATE INDEX workflow_state ON workflow (state, submitted_at, workflow_id);

-- Ended ones, oldest ending first: which of them are deleted next.
CREATE INDEX workflow_finished ON workflow (finished_at) WHERE finished_at <> '';

-- What was submitted, apart: it is large, and read only to take a workflow over.
CREATE TABLE document (
    serial   INTEGER PRIMARY KEY,
    document TEXT NOT NULL,
    inputs   TEXT NOT NULL
) STRICT;

CREATE TABLE task (
    id           INTEGER PRIMARY KEY,
    workflow     INTEGER NOT NULL,  -- workflow.serial
    task_id      TEXT NOT NULL,
    name         TEXT NOT NULL,
    method       TEXT NOT NULL,
    protocol     TEXT NOT NULL,
    dependencies TEXT NOT NULL,     -- '' is none
    priority     INTEGER NOT NULL,
    timeout      REAL,
    retry        TEXT NOT NULL,     -- '' is once
    on_lost      TEXT NOT NULL,
    timeouts     TEXT NOT NULL,     -- '' is none
    state        TEXT NOT NULL,
    attempt      INTEGER NOT NULL,
    owner        TEXT,
    provider     TEXT,
    failures     INTEGER NOT NULL,
    crashes      INTEGER NOT NULL,
    error        TEXT,
    retry_delay  REAL,
    ready_at     TEXT NOT NULL,
    started_at   TEXT NOT NULL,
    finished_at  TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX task_name ON task (workflow, task_id);
CREATE INDEX task_ready ON task (workflow) WHERE state = 'queued';

CREATE TABLE value (
    id    INTEGER PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE shard (
    shard               INTEGER PRIMARY KEY,
    number              INTEGER NOT NULL,
    last_resolver       INTEGER NOT NULL,
    last_queue_manager  INTEGER NOT NULL,
    cursor              INTEGER NOT NULL,
    resolver            TEXT NOT NULL,
    resolver_epoch      INTEGER NOT NULL,
    queue_manager       TEXT NOT NULL,
    queue_manager_epoch INTEGER NOT NULL,
    horizon             INTEGER NOT NULL   -- up to this number entries of deleted workflows are missing
) STRICT;

CREATE TABLE feed (
    id                  INTEGER PRIMARY KEY,
    workflow            INTEGER NOT NULL,  -- workflow.serial
    name                TEXT NOT NULL,
    audience            INTEGER NOT NULL,  -- 1 resolver, 2 queue manager, added up
    after_resolver      INTEGER NOT NULL,
    after_queue_manager INTEGER NOT NULL,
    after_workflow      INTEGER NOT NULL,
    task                INTEGER,           -- task.id, if its result belongs into the body
    body                TEXT NOT NULL
) STRICT;

CREATE INDEX feed_workflow ON feed (workflow);

-- Workflows of which there is no row any more. Their rows in other tables go little by little; then it is
-- remembered for a while that they were there, so that a late repeat of a submission is known as one.
CREATE TABLE deleted (
    serial         INTEGER PRIMARY KEY,  -- as it was in workflow
    workflow_id    TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    deleted_at     TEXT NOT NULL,
    swept          INTEGER NOT NULL      -- 1: nothing of it is left
) STRICT;

CREATE INDEX deleted_name ON deleted (workflow_id);
CREATE INDEX deleted_next ON deleted (swept, deleted_at);
