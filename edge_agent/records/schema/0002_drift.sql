-- The drift test of a run: whether the whole survey is foreign to its bundle.
CREATE TABLE drift (
    run_id INTEGER PRIMARY KEY REFERENCES run (id),
    -- Counts, votes, open votes and alarm as JSON: scoring.drift.DriftState.
    state TEXT NOT NULL,
    -- The share of strange tiles that familiar ground may have: what the test bets against.
    familiar_share REAL NOT NULL,
    -- Why nothing is tested, empty where it is.
    inactive TEXT NOT NULL DEFAULT '',
    alarmed_at REAL
);

-- Blocks of ground that have voted, each once in a run.
CREATE TABLE drift_block (
    run_id INTEGER NOT NULL REFERENCES run (id),
    block TEXT NOT NULL,
    PRIMARY KEY (run_id, block)
) WITHOUT ROWID;

-- Embeddings of kept tiles, float32 in little-endian order, the oldest first: what is like them
-- need not be kept in a foreign survey.
CREATE TABLE leader (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES run (id),
    address TEXT NOT NULL,
    vector BLOB NOT NULL
);

CREATE INDEX leader_of ON leader (run_id, address);
