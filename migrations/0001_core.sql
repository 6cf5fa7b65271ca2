-- Worlds, operations, steps, events, quotas. Runs on SQLite and PostgreSQL alike: TEXT and BIGINT only.
-- Times are milliseconds since 1970, UTC. Ids are lower-case hexadecimal text.

-- Numbers that only grow. `event` is the place of the newest event in the stream.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('event', 0);

-- What each owner holds; changed in the transaction that changes the worlds, so a quota cannot be raced.
CREATE TABLE owners (
    owner BIGINT PRIMARY KEY,
    worlds BIGINT NOT NULL,
    nodes BIGINT NOT NULL,
    links BIGINT NOT NULL
);

CREATE TABLE worlds (
    id TEXT PRIMARY KEY,
    owner BIGINT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL,
    -- The spec in force, as JSON; the network plan is derived from it. NULL until the first up is done.
    spec TEXT,
    up_to BIGINT NOT NULL,
    nodes BIGINT NOT NULL,
    links BIGINT NOT NULL,
    started_at BIGINT,
    UNIQUE (owner, name)
);

CREATE TABLE phases (
    world TEXT NOT NULL REFERENCES worlds (id) ON DELETE CASCADE,
    phase BIGINT NOT NULL,
    state TEXT NOT NULL,
    millis BIGINT,
    detail TEXT NOT NULL,
    PRIMARY KEY (world, phase)
);

CREATE TABLE services (
    world TEXT NOT NULL REFERENCES worlds (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    port BIGINT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (world, name, address)
);

-- No reference to worlds: an operation outlives the world it removed.
CREATE TABLE operations (
    id TEXT PRIMARY KEY,
    world TEXT NOT NULL,
    owner BIGINT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    -- The spec an up leads to, as JSON.
    spec TEXT,
    up_to BIGINT NOT NULL,
    problem TEXT,
    changes BIGINT NOT NULL,
    begun_at BIGINT NOT NULL,
    ended_at BIGINT,
    -- The operation gives up at this time.
    deadline BIGINT
);
-- One operation per world at a time.
CREATE UNIQUE INDEX operations_at_work ON operations (world) WHERE state IN ('running', 'undoing');
CREATE INDEX operations_of_owner ON operations (owner, begun_at);

CREATE TABLE steps (
    operation TEXT NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    step TEXT NOT NULL,
    -- The idempotency key of the step's call to rootd: the same step run again after a crash is the same call.
    call_key TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (operation, step)
);

CREATE TABLE events (
    seq BIGINT PRIMARY KEY,
    id TEXT NOT NULL,
    time BIGINT NOT NULL,
    owner BIGINT NOT NULL,
    world TEXT NOT NULL,
    name TEXT NOT NULL,
    operation TEXT,
    parent TEXT,
    kind TEXT NOT NULL,
    phase BIGINT,
    message TEXT NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX events_of_owner ON events (owner, seq);
