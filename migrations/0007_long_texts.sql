-- Long texts have tables of their own: a row that holds one is rewritten whole with every change of its state, and read
-- past to reach the columns behind.
CREATE TABLE in_force (
    world TEXT PRIMARY KEY REFERENCES worlds (id) ON DELETE CASCADE,
    -- What the last up that was done led to, as JSON; the network plan is derived from the spec.
    spec TEXT NOT NULL,
    trust TEXT,
    peers TEXT,
    zones TEXT,
    issuers TEXT,
    -- They are told, shown and replaced as a whole: a row for each of thousands costs many times what is in it.
    services TEXT
);
INSERT INTO in_force (world, spec, trust, peers, zones, issuers, services)
    SELECT id, spec, trust, peers, zones, issuers,
        -- Names, addresses and states need no escapes in JSON; of details, quotes and backslashes do.
        (SELECT '[' || string_agg('{"name":"' || services.name || '","address":"' || address || '","port":' || CAST(port AS TEXT)
            || ',"state":"' || services.state || '","detail":"'
            || replace(replace(services.detail, '\', '\\'), '"', '\"') || '"}', ','
            ORDER BY services.name, address, port) || ']'
        FROM services WHERE world = worlds.id)
    FROM worlds WHERE spec IS NOT NULL;
DROP TABLE services;
ALTER TABLE worlds DROP COLUMN spec;
ALTER TABLE worlds DROP COLUMN trust;
ALTER TABLE worlds DROP COLUMN peers;
ALTER TABLE worlds DROP COLUMN zones;
ALTER TABLE worlds DROP COLUMN issuers;

CREATE TABLE intended (
    operation TEXT PRIMARY KEY REFERENCES operations (id) ON DELETE CASCADE,
    -- The spec that an operation at work leads to, as JSON.
    spec TEXT NOT NULL
);
INSERT INTO intended (operation, spec)
    SELECT id, spec FROM operations WHERE spec IS NOT NULL AND state IN ('running', 'undoing');
ALTER TABLE operations DROP COLUMN spec;
CREATE INDEX operations_ended ON operations (owner, ended_at);
