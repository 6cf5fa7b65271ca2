-- What phases 1 to 6 need: trust and secrets of worlds, and services with several ports at one address.

-- What the world's clients trust, as JSON; NULL until its services said so.
ALTER TABLE worlds ADD COLUMN trust TEXT;

-- Passwords, client secrets and keys, each sealed with userd's key and bound to its row. They are made once and stay
-- until the world is removed.
CREATE TABLE credentials (
    world TEXT NOT NULL REFERENCES worlds (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    issuer TEXT NOT NULL,
    name TEXT NOT NULL,
    sealed TEXT NOT NULL,
    PRIMARY KEY (world, kind, issuer, name)
);

-- A resolver answers on 53, 853 and 443 of one address.
CREATE TABLE services_by_port (
    world TEXT NOT NULL REFERENCES worlds (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    port BIGINT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (world, name, address, port)
);
INSERT INTO services_by_port (world, name, address, port, state, detail)
    SELECT world, name, address, port, state, detail FROM services;
DROP TABLE services;
ALTER TABLE services_by_port RENAME TO services;
