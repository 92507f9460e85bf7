CREATE TABLE runs (
	run      TEXT PRIMARY KEY,
	dir      TEXT NOT NULL, -- its name beside the database
	stamp    TEXT NOT NULL, -- of the files that this follows from
	started  INTEGER NOT NULL, -- Unix time, ns; 0: not known
	verdict  TEXT NOT NULL,
	smoke    INTEGER NOT NULL,
	cycles   INTEGER NOT NULL,
	daemon   TEXT NOT NULL,
	weaker   INTEGER NOT NULL -- it was made under a policy that demands less than the built-in one
) STRICT;

-- What a run was red for without being any application's.
CREATE TABLE problems (
	run   TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
	node  TEXT NOT NULL,
	cycle INTEGER NOT NULL, -- 0: that of all cycles
	what  TEXT NOT NULL
) STRICT;
CREATE INDEX problems_of_run ON problems (run);

-- What a run's outcome can depend on: the subject, what judged it, and its nodes.
CREATE TABLE parts (
	run   TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
	kind  TEXT NOT NULL, -- daemon, catalog, manifest, image, file, command, gate, node
	name  TEXT NOT NULL,
	value TEXT NOT NULL, -- a digest in hex, or a version
	PRIMARY KEY (run, kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE apps (
	run     TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
	app     TEXT NOT NULL,
	version TEXT NOT NULL,
	verdict TEXT NOT NULL,
	level   TEXT NOT NULL,
	bits    TEXT NOT NULL, -- digest of its manifest, and those of what it requires
	needs   TEXT NOT NULL, -- what it requires, with commas between
	PRIMARY KEY (run, app)
) STRICT, WITHOUT ROWID;

CREATE TABLE cells (
	run     TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
	app     TEXT NOT NULL,
	step    TEXT NOT NULL,
	node    TEXT NOT NULL,
	cycle   INTEGER NOT NULL,
	status  TEXT NOT NULL,
	seconds REAL NOT NULL,
	engine  REAL NOT NULL, -- of them, by the engine: at a reboot, until the node was back
	waiting REAL NOT NULL, -- of them, for the application
	reason  TEXT NOT NULL,
	at      INTEGER NOT NULL, -- when it ended, Unix time, ns; 0: not known
	PRIMARY KEY (app, step, run, node, cycle)
) STRICT, WITHOUT ROWID;
CREATE INDEX cells_of_run ON cells (run);
CREATE INDEX cells_at ON cells (app, step, at);

-- Cells that were run, each once: a run that was put together from others has theirs, too.
CREATE VIEW counted AS SELECT c.*, r.started, r.daemon FROM cells c JOIN runs r USING (run)
	WHERE c.status IN ('passed', 'failed') AND NOT EXISTS (
		SELECT 1 FROM cells o JOIN runs q ON q.run = o.run
		WHERE o.app = c.app AND o.step = c.step AND o.at = c.at AND c.at <> 0 AND o.cycle = c.cycle AND (q.started, q.run) < (r.started, r.run));
