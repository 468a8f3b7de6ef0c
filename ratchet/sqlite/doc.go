// Package sqlite is the store of package ratchet on one host: one SQLite file, one process, one
// connection.
//
// What it promises beyond [ratchet.Store]:
//
//   - A signature leaves after COMMIT has returned without an error under synchronous=FULL, and after
//     the database and its -wal were found in their place.
//   - A missing, foreign, copied, restored or replaced file is refused, never taken for a new start.
//     [Create] is the only way to a new file. So is a file that lacks the last mark, which is noted in
//     a file beside it: a -wal that was damaged after a kill, older content that was written into the
//     file. And a file with a row that is not as it was written, or with rows of different times: each
//     row bears a digest of itself, and the file one of them all.
//   - No other process can open the file, and no other program of this host can read it, while a
//     Store has it open. [Read] and [Examine] look at a file that nobody has open.
//
// What it cannot see, first of all: that the file was set back in place, together with that note. cp of
// older ones over both files does it, and so does a snapshot of btrfs, ZFS, LVM or of a virtual machine
// that is brought back. Everything agrees then, and is old: a slot is signed a second time.
//
// Nor does it guard against someone who edits the file with SQLite while no daemon runs and makes its
// digests good.
//
// Open is the straight line of an opening, Place the transaction that decides, transact what every
// commit goes through.
package sqlite
