-- Who did what. Records are numbered without a gap, and each has the hash of the one before it.
CREATE TABLE audit (
    number         INTEGER PRIMARY KEY,
    at             TEXT NOT NULL,
    action         TEXT NOT NULL,
    object         TEXT NOT NULL,
    subject        TEXT NOT NULL,
    component_id   TEXT NOT NULL,
    address        TEXT NOT NULL,
    outcome        TEXT NOT NULL,     -- accepted, refused
    code           INTEGER NOT NULL,  -- of the error; 0 is none
    error          TEXT NOT NULL,
    detail         TEXT NOT NULL,
    count          INTEGER NOT NULL,
    correlation_id TEXT NOT NULL,
    previous       TEXT NOT NULL,     -- the hash of the record before
    hash           TEXT NOT NULL
) STRICT;

CREATE INDEX audit_object ON audit (object, number);
CREATE INDEX audit_subject ON audit (subject, number);

-- Up to this number records are gone, since they were old or too many; the hash is the last one's of these.
CREATE TABLE audit_horizon (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL,
    hash   TEXT NOT NULL
) STRICT;

INSERT INTO audit_horizon VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

-- Nothing in here is ever changed; what is at the horizon or before it may go, and the horizon goes on only.
CREATE TRIGGER audit_in_order BEFORE INSERT ON audit
WHEN NEW.number <> 1 + coalesce((SELECT max(number) FROM audit), (SELECT number FROM audit_horizon))
BEGIN SELECT raise(ABORT, 'records of the audit are added at its end only'); END;

CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'records of the audit are never changed'); END;

CREATE TRIGGER audit_undeleted BEFORE DELETE ON audit
WHEN OLD.number > (SELECT number FROM audit_horizon)
BEGIN SELECT raise(ABORT, 'records of the audit are deleted by their age and number only'); END;

CREATE TRIGGER audit_horizon_onward BEFORE UPDATE ON audit_horizon
WHEN NEW.number < OLD.number OR NEW.hash IS NOT (SELECT hash FROM audit WHERE number = NEW.number)
BEGIN SELECT raise(ABORT, 'the horizon of the audit is a record, and never goes back'); END;

CREATE TRIGGER audit_horizon_undeleted BEFORE DELETE ON audit_horizon
BEGIN SELECT raise(ABORT, 'the audit has a horizon'); END;

CREATE TRIGGER audit_horizon_one BEFORE INSERT ON audit_horizon
BEGIN SELECT raise(ABORT, 'the audit has one horizon'); END;
