-- What a task may take of the machine, as JSON; empty if it says nothing.
ALTER TABLE task ADD COLUMN resources TEXT NOT NULL DEFAULT '';
