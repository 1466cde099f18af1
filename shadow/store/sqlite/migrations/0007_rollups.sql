-- Sums and histograms of what the raw rows say, so that no question about a window has to read them all.

-- What each write added, appended in the same transaction: one row a minute and series. A leader folds them into
-- `rollup` and deletes them; until then readers add them up themselves. `detail` is '' for a series' own sums, else a
-- JSON list: ["score", evaluator, version] or ["dropped"]. `numbers` is a JSON object, `histograms` a msgpack map.
CREATE TABLE rollup_delta (
    id INTEGER PRIMARY KEY,
    bucket INTEGER NOT NULL,
    task TEXT NOT NULL,
    "primary" TEXT,
    candidate TEXT NOT NULL,
    detail TEXT NOT NULL,
    numbers TEXT NOT NULL,
    histograms BLOB
) STRICT;

-- The folded sums by minute (60), hour (3600) and day (86400): each grain holds everything that was folded.
-- `bucket` is the start in seconds since 1970-01-01T00:00:00Z; candidate '' is the primary's own part of a series.
CREATE TABLE rollup (
    grain INTEGER NOT NULL CHECK (grain IN (60, 3600, 86400)),
    bucket INTEGER NOT NULL,
    task TEXT NOT NULL,
    "primary" TEXT,
    candidate TEXT NOT NULL,
    detail TEXT NOT NULL,
    numbers TEXT NOT NULL,
    histograms BLOB
) STRICT;

-- A model may be unknown (NULL); the number 0 equals no text.
CREATE UNIQUE INDEX rollup_by_bucket ON rollup (grain, bucket, task, candidate, detail, coalesce("primary", 0));

-- How often the sums of a bucket were changed, so that readers may keep what they added up.
CREATE TABLE rollup_version (
    grain INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (grain, bucket)
) STRICT, WITHOUT ROWID;

-- Who does what only one process may do at a time, and until when.
CREATE TABLE lease (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A store that was filled by an older version has no rollups yet: the leader makes them, the newest hours first.
INSERT INTO meta (key, value)
SELECT 'rollups_due_before', CAST((SELECT max(started_at) FROM exchange) / 3600000000 * 3600 + 3600 AS TEXT)
WHERE EXISTS (SELECT 1 FROM exchange);
