-- The ratchet, schema version 5. application_id is "pawl" in ASCII.
-- A seal is the digest of its row (seal.go).
PRAGMA application_id = 0x7061776c;
PRAGMA user_version = 5;

-- One row: how often the file was opened, probed or at rest (from 2^24 on), whether it was closed
-- cleanly, and which files (inode/birth time) it and its -wal were when it was last open.
CREATE TABLE provenance (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  generation INTEGER NOT NULL,
  clean      INTEGER NOT NULL CHECK (clean IN (0, 1)),
  database   TEXT NOT NULL,
  wal        TEXT NOT NULL
) STRICT;

-- Where a key may sign, and from which level. NULL: it was new, there is no floor. Not after: it was
-- handed over. A fence: 1 unwitnessed, 2 rolled back, 3 moved; known is the highest level that anything
-- knew, and until the last level that is not signed, NULL before the fence is set.
CREATE TABLE registrations (
  key        BLOB NOT NULL CHECK (length(key) = 21),
  chain      BLOB NOT NULL CHECK (length(chain) = 4),
  from_level INTEGER CHECK (from_level >= 0),
  seal       BLOB CHECK (length(seal) = 16),
  not_after  INTEGER CHECK (not_after >= 0),
  retired    TEXT CHECK (length(retired) > 0),
  fence      INTEGER CHECK (fence BETWEEN 1 AND 3),
  known      INTEGER CHECK (known >= 0),
  until      INTEGER CHECK (until >= 0),
  PRIMARY KEY (key, chain)
) STRICT, WITHOUT ROWID;

-- Keys that were registered the moment they were made: good for any chain.
CREATE TABLE never_used (
  key     BLOB PRIMARY KEY CHECK (length(key) = 21),
  seal    BLOB CHECK (length(seal) = 16),
  retired TEXT CHECK (length(retired) > 0),
  fence   INTEGER CHECK (fence BETWEEN 1 AND 3),
  known   INTEGER CHECK (known >= 0)
) STRICT, WITHOUT ROWID;

-- One row: the machine that last opened the file, as a digest of its id, '' for none or unknown; and which
-- ratchet this is, of all that there are. A copy has the same.
CREATE TABLE machine (
  id      INTEGER PRIMARY KEY CHECK (id = 1),
  digest  TEXT NOT NULL,
  ratchet TEXT NOT NULL CHECK (length(ratchet) = 32)
) STRICT;
INSERT INTO machine VALUES (1, '', lower(hex(randomblob(16))));

-- The high watermarks. A signature is in its base58 form; imported marks may have none. The time is that
-- of the commit, in milliseconds since 1970; NULL in marks of older pawls. No decision depends on it.
CREATE TABLE marks (
  key       BLOB NOT NULL CHECK (length(key) = 21),
  chain     BLOB NOT NULL CHECK (length(chain) = 4),
  kind      INTEGER NOT NULL CHECK (kind IN (0x11, 0x12, 0x13)),
  level     INTEGER NOT NULL CHECK (level >= 0),
  round     INTEGER NOT NULL CHECK (round >= 0),
  digest    BLOB CHECK (length(digest) = 32),
  signature TEXT CHECK (signature IS NULL OR digest IS NOT NULL),
  seal      BLOB CHECK (length(seal) = 16),
  time      INTEGER CHECK (time > 0),
  PRIMARY KEY (key, chain, kind)
) STRICT, WITHOUT ROWID;

-- One row: how many rows the three tables before have, and the XOR of their seals, in two halves. Each
-- transaction that changes a row changes it (totals.go). It is not in the provenance row, which is read
-- from the file alone after a power cut and must not be written with each mark; the generation, which is
-- that of the provenance row, ties the two.
CREATE TABLE totals (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  generation INTEGER NOT NULL,
  rows       INTEGER NOT NULL,
  high       INTEGER NOT NULL,
  low        INTEGER NOT NULL
) STRICT;
