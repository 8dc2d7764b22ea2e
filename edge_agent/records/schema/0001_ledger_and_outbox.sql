-- Counters are rows, kept in the transaction that changes what they count.
-- scope 0 is the device, any other a survey.
CREATE TABLE counter (
    scope INTEGER NOT NULL,
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;

-- What happened to the records themselves, for the operator.
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL
);

CREATE TABLE survey (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    opened_at REAL NOT NULL,
    -- Payload bytes that count against the survey's cap: queued, or sent.
    bytes INTEGER NOT NULL DEFAULT 0
);

-- A survey judged by one bundle under one policy; a change of either starts another run.
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    survey_id INTEGER NOT NULL REFERENCES survey (id),
    bundle TEXT NOT NULL,
    bundle_sha256 BLOB NOT NULL,
    policy TEXT NOT NULL,
    policy_settings TEXT NOT NULL,
    labels TEXT NOT NULL,
    opened_at REAL NOT NULL,
    UNIQUE (survey_id, bundle, bundle_sha256, policy, labels)
);

CREATE TABLE frame (
    id INTEGER PRIMARY KEY,
    survey_id INTEGER NOT NULL REFERENCES survey (id),
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'finished', 'failed')),
    tile_count INTEGER NOT NULL DEFAULT 0,
    tiles_done INTEGER NOT NULL DEFAULT 0,
    -- How it was cut into tiles: of another plan, tiles_done means nothing.
    plan TEXT NOT NULL DEFAULT '',
    -- Times it was opened since it last came further: counted before, for what kills the process.
    tries INTEGER NOT NULL DEFAULT 0,
    width INTEGER,
    height INTEGER,
    gsd_m REAL,
    longitude REAL,
    latitude REAL,
    sigma_m REAL,
    captured_at TEXT,
    clock TEXT,
    crs TEXT,
    notes TEXT NOT NULL DEFAULT '[]',
    -- Of a failed frame: a short code to count by, and a sentence.
    reason TEXT,
    message TEXT,
    changed_at REAL NOT NULL,
    UNIQUE (survey_id, name, size, mtime_ns)
);

CREATE INDEX frame_unsettled ON frame (survey_id, state) WHERE state <> 'finished';

-- Words that come back in every tile, stored once: score names, rules, evidence keys, reasons.
CREATE TABLE word (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
);

-- The ledger: every verdict, kept or not.
CREATE TABLE tile (
    id INTEGER PRIMARY KEY,
    frame_id INTEGER NOT NULL REFERENCES frame (id),
    run_id INTEGER NOT NULL REFERENCES run (id),
    row INTEGER NOT NULL,
    col INTEGER NOT NULL,
    height INTEGER NOT NULL,
    width INTEGER NOT NULL,
    gsd_m REAL,
    longitude REAL,
    latitude REAL,
    sigma_m REAL,
    nodata_share REAL NOT NULL,
    kept INTEGER NOT NULL,
    -- Word of the reason that decided.
    reason INTEGER NOT NULL,
    value REAL NOT NULL,
    quality REAL,
    -- Scores, p-values, probabilities, findings, reasons: see facts.py.
    facts BLOB NOT NULL,
    -- The rest belongs to kept tiles only.
    inclusion_probability REAL,
    perceptual_hash BLOB,
    content_sha256 BLOB,
    sample_id BLOB,
    boot INTEGER,
    sequence INTEGER,
    payload_size INTEGER,
    -- queued | quarantined | stored | duplicate | skipped | rejected | unsupported | evicted
    -- | dropped; null for a tile that was not kept.
    delivery TEXT,
    delivery_detail TEXT,
    delivery_at REAL,
    -- 1: gone from the outbox, but its bytes still count against the survey's cap.
    charged INTEGER
);

CREATE UNIQUE INDEX tile_place ON tile (frame_id, row, col);
CREATE UNIQUE INDEX tile_sample ON tile (sample_id) WHERE sample_id IS NOT NULL;
CREATE INDEX tile_kept ON tile (id) WHERE kept = 1;
CREATE INDEX tile_skipped ON tile (run_id) WHERE kept = 0;
CREATE INDEX tile_settled ON tile (run_id) WHERE delivery NOT IN ('queued', 'quarantined');

-- What novelty has to know of kept tiles whose rows the ledger has forgotten.
CREATE TABLE memory (
    id INTEGER PRIMARY KEY,
    frame_id INTEGER NOT NULL REFERENCES frame (id),
    row INTEGER NOT NULL,
    col INTEGER NOT NULL,
    content_sha256 BLOB NOT NULL,
    perceptual_hash BLOB
);

-- The queue. The pixels are apart, so that walking it never reads them.
CREATE TABLE outbox (
    tile_id INTEGER PRIMARY KEY REFERENCES tile (id),
    sample_id BLOB NOT NULL,
    survey_id INTEGER NOT NULL,
    priority REAL NOT NULL,
    size INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    -- Bytes that base lacked when the latest attempt began; fewer by the next: it was not in vain.
    missing INTEGER,
    -- 1 once sending its pixels has begun, whatever becomes of the attempts.
    started INTEGER NOT NULL DEFAULT 0,
    quarantined INTEGER NOT NULL DEFAULT 0,
    queued_at REAL NOT NULL,
    attempted_at REAL,
    description BLOB NOT NULL
);

CREATE INDEX outbox_waiting ON outbox (priority DESC, tile_id, sample_id) WHERE quarantined = 0;
CREATE INDEX outbox_quarantined ON outbox (priority DESC, tile_id) WHERE quarantined = 1;
CREATE INDEX outbox_unsent ON outbox (survey_id, quarantined, priority DESC, tile_id)
    WHERE started = 0;
CREATE INDEX outbox_tried ON outbox (tile_id) WHERE attempts > 0 AND quarantined = 0;

CREATE TABLE payload (
    tile_id INTEGER PRIMARY KEY REFERENCES outbox (tile_id) ON DELETE CASCADE,
    data BLOB NOT NULL
);
