-- The networks of ANDs. A row is of an AND of a world by their names, and outlives the world: the same AND of the same
-- world gets the same network again.
CREATE TABLE and_leases (
    owner BIGINT NOT NULL,
    world TEXT NOT NULL,
    and_name TEXT NOT NULL,
    -- Its links and addresses are numbered by it.
    number BIGINT NOT NULL,
    network TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- When a spec of the world was first without the AND; NULL while it has it.
    released_at BIGINT,
    PRIMARY KEY (owner, world, and_name),
    UNIQUE (owner, world, number),
    UNIQUE (owner, world, network)
);
