-- What others changed in worlds, and what became of it.

-- 1: what others change is put right; 0: it is only told (`up --no-heal`).
ALTER TABLE worlds ADD COLUMN heal BIGINT NOT NULL DEFAULT 1;

CREATE TABLE drifts (
    id TEXT PRIMARY KEY,
    world TEXT NOT NULL REFERENCES worlds (id) ON DELETE CASCADE,
    -- `network` or `process`.
    part TEXT NOT NULL,
    noticed_at BIGINT NOT NULL,
    noticed_by TEXT NOT NULL,
    -- What differed, as JSON, and how much else did.
    changes TEXT NOT NULL,
    more BIGINT NOT NULL,
    -- Repairs that began until it was healed.
    tries BIGINT NOT NULL,
    healed_at BIGINT
);
CREATE INDEX drifts_of_world ON drifts (world, noticed_at);
