package sqlite

// The note of the last mark, beside the file.

import (
	"errors"
	"fmt"
	"hash/crc32"

	"golang.org/x/sys/unix"

	"pawl/ratchet"
	"pawl/tezos"
)

// lastSize is the length of the file with the last mark, within one sector.
const lastSize = 256

// last is a file beside the database that notes the last mark that was committed. It is written between
// COMMIT and the release, and never synced. It has two uses.
//
// The next opening must find that mark in the store. If the -wal was damaged after a kill, or if older
// content was copied into the file, the mark is missing and the file is refused. After a power cut the
// note may be older, or gone. It then says less and nothing wrong, because what it names was durable
// before it was written.
//
// The other use: at the moment when ext4 makes itself read-only or is shut down, fdatasync may return
// nil and have written nothing (measured on Linux 6.18: 17 marks lost in 160 times). A write that
// begins after it fails, and the mark is not released (none lost in 200 times).
type last struct {
	fd   int // -1 before the file is open
	text []byte
}

// openLast opens the file, or makes it, and returns the mark that it notes for this database, or nil.
func (db *Store) openLast() (said *ratchet.Mark, err error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_CLOEXEC | unix.O_NOFOLLOW
	if db.last.fd, err = unix.Open(db.path+lastSuffix, flags, 0o600); err != nil {
		return nil, fmt.Errorf("opening %s%s: %v", db.path, lastSuffix, err)
	}
	db.last.text, said, err = lastIn(db.last.fd, db.path, db.database.identity)
	return said, err
}

// readLast is openLast for a reader: it makes no file.
func readLast(path string, database identity) (said *ratchet.Mark, err error) {
	fd, err := unix.Open(path+lastSuffix, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s%s: %v", path, lastSuffix, err)
	}
	_, said, err = lastIn(fd, path, database)
	return said, errors.Join(err, unix.Close(fd))
}

func lastIn(fd int, path string, database identity) (text []byte, said *ratchet.Mark, err error) {
	text = make([]byte, lastSize)
	n, err := unix.Pread(fd, text, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s%s: %v", path, lastSuffix, err)
	}
	if m, ok := parseLast(text[:n], database); ok {
		said = &m
	}
	return text, said, nil
}

// writeLast notes the last mark of a batch. On a full disk the first write finds no room: then there is
// no note, and no more is lost.
func (db *Store) writeLast(batch []*job) error {
	for _, j := range batch {
		if j.stored != nil {
			db.last.text = lastText(db.database.identity, *j.stored)
		}
	}
	_, err := unix.Pwrite(db.last.fd, db.last.text, 0)
	if err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("the file system of %s takes no writes: %v", db.path, err)
	}
	return nil
}

func lastText(database identity, m ratchet.Mark) []byte {
	mark := fmt.Sprintf("%x %x %d %d %d", m.Key[:], m.ChainID[:], m.Kind, m.Level, m.Round)
	line := fmt.Sprintf("%v %s %08x", database, mark, crc32.ChecksumIEEE([]byte(mark)))
	return fmt.Appendf(nil, "%-*s\n", lastSize-1, line)
}

// parseLast parses a text of lastText, and takes it only if it is of the same database.
func parseLast(content []byte, database identity) (m ratchet.Mark, ok bool) {
	var of string
	var key, chain []byte
	var sum uint32
	var kind uint8
	if _, err := fmt.Sscanf(string(content), "%s %x %x %d %d %d %x", &of, &key, &chain, &kind, &m.Level, &m.Round,
		&sum); err != nil {
		return ratchet.Mark{}, false
	}
	if len(key) != len(m.Key) || len(chain) != len(m.ChainID) {
		return ratchet.Mark{}, false
	}
	m.Key, m.ChainID, m.Kind = tezos.PublicKeyHash(key), tezos.ChainID(chain), tezos.Kind(kind)
	was, err := parseIdentity(of)
	return m, err == nil && was.is(database) && string(lastText(was, m)) == string(content)
}

// checkLast refuses marks among which the last one is missing.
func checkLast(path string, said *ratchet.Mark, all ratchet.Snapshot) (Verdict, error) {
	if said == nil {
		return Unwitnessed, nil
	}
	there := all.Standing(*said).Mark
	if there != nil && !said.Above(there.Mark) {
		return InPlace, nil
	}
	return RolledBack, verdict(RolledBack, fmt.Sprintf(
		"%s has lost %s level %d and round %d of %s, which was signed: its -wal is damaged, or its content is older",
		path, said.Kind, said.Level, said.Round, said.Key))
}
