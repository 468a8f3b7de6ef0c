-- The tables that differ in schema version 1.

-- Where a key may sign, and from which level. NULL: it was new, there is no floor.
CREATE TABLE registrations (
  key        BLOB NOT NULL CHECK (length(key) = 21),
  chain      BLOB NOT NULL CHECK (length(chain) = 4),
  from_level INTEGER CHECK (from_level >= 0),
  PRIMARY KEY (key, chain)
) STRICT, WITHOUT ROWID;

-- Keys that were registered the moment they were made: good for any chain.
CREATE TABLE never_used (
  key BLOB PRIMARY KEY CHECK (length(key) = 21)
) STRICT, WITHOUT ROWID;

-- The high watermarks. A signature is in its base58 form; imported marks may
-- have none.
CREATE TABLE marks (
  key       BLOB NOT NULL CHECK (length(key) = 21),
  chain     BLOB NOT NULL CHECK (length(chain) = 4),
  kind      INTEGER NOT NULL CHECK (kind IN (0x11, 0x12, 0x13)),
  level     INTEGER NOT NULL CHECK (level >= 0),
  round     INTEGER NOT NULL CHECK (round >= 0),
  digest    BLOB CHECK (length(digest) = 32),
  signature TEXT CHECK (signature IS NULL OR digest IS NOT NULL),
  PRIMARY KEY (key, chain, kind)
) STRICT, WITHOUT ROWID;
