-- The worlds that a world is to be joined with, as it was last brought up: JSON; absent when its spec names none.
ALTER TABLE worlds ADD COLUMN peers TEXT;
-- The zones that other worlds may be delegated, as its name servers told: JSON.
ALTER TABLE worlds ADD COLUMN zones TEXT;
