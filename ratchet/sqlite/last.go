package sqlite

// The note of the last mark, beside the file.

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"pawl/ratchet"
	"pawl/tezos"
)

// lastSize is the length of the file with the last mark, within one sector.
const lastSize = 256

// last is a file beside the database that notes the last mark that was committed, and the totals of all
// rows at that moment. It is written between COMMIT and the release, and never synced. It has three uses.
//
// The next opening must find that mark in the store. If the -wal was damaged after a kill, or if older
// content was copied into the file, the mark is missing and the keys are fenced. After a power cut the
// note may be older, or gone. It then says less and nothing wrong, because what it names was durable
// before it was written.
//
// A file without its -wal is taken if it has the totals of the note, and the note was written since the
// host was started: then no row is missing (whole.go).
//
// The third: at the moment when ext4 makes itself read-only or is shut down, fdatasync may return
// nil and have written nothing (measured on Linux 6.18: 17 marks lost in 160 times). A write that
// begins after it fails, and the mark is not released (none lost in 200 times).
type last struct {
	fd   int // -1 before the file is open
	note note
}

// note is the content of the file.
type note struct {
	mark   ratchet.Mark // of kind 0: none yet
	totals totals
	boot   string // the id of the running kernel's start; empty in a note of an older pawl
}

// bootID is the same from one start of the host to the next (random(4)), and empty if that cannot be told.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// openLast opens the file, or makes it.
func (db *Store) openLast() (err error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_CLOEXEC | unix.O_NOFOLLOW
	if db.last.fd, err = unix.Open(db.path+lastSuffix, flags, 0o600); err != nil {
		return foreignOwner(db.path, lastSuffix, err)
	}
	return beside(db.path, lastSuffix, db.database)
}

// readLast returns what the file notes for a database, nil for nothing or no file.
func readLast(path string, database identity) (said *note, err error) {
	fd, err := unix.Open(path+lastSuffix, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, foreignOwner(path, lastSuffix, err)
	}
	said, err = lastIn(fd, path, database)
	return said, errors.Join(err, unix.Close(fd))
}

func lastIn(fd int, path string, database identity) (said *note, err error) {
	text := make([]byte, lastSize)
	n, err := unix.Pread(fd, text, 0)
	if err != nil {
		return nil, fmt.Errorf("reading %s%s: %v", path, lastSuffix, err)
	}
	if found, ok := parseLast(text[:n], database); ok {
		return &found, nil
	}
	return nil, nil
}

// noteBatch writes down the last mark of a batch and the totals after it. It writes also when nothing
// changed: that shows whether the disk takes writes.
func (db *Store) noteBatch(batch []*job) error {
	for _, j := range batch {
		if j.stored != nil {
			db.last.note.mark = *j.stored
		}
	}
	db.last.note.totals = db.last.note.totals.with(changeOf(batch))
	return db.writeLast()
}

// writeLast writes the note. On a full disk the first write finds no room: then there is no note, and no
// more is lost.
func (db *Store) writeLast() error {
	_, err := unix.Pwrite(db.last.fd, db.last.note.text(db.database.identity), 0)
	if err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("the file system of %s takes no writes: %v", db.path, err)
	}
	return nil
}

// text is the content of the file: the database, the mark, the totals and the boot, each a word, and a
// checksum of all but the first.
func (n note) text(database identity) []byte {
	words := n.words()
	if n.boot != "" {
		words += fmt.Sprintf(" %d %016x %016x %s", n.totals.rows, n.totals.high, n.totals.low, n.boot)
	}
	line := fmt.Sprintf("%v %s %08x", database, words, crc32.ChecksumIEEE([]byte(words)))
	return fmt.Appendf(nil, "%-*s\n", lastSize-1, line)
}

// words are the mark's. A pawl that knew no totals noted them alone.
func (n note) words() string {
	m := n.mark
	return fmt.Sprintf("%x %x %d %d %d", m.Key[:], m.ChainID[:], m.Kind, m.Level, m.Round)
}

// parseLast parses a text of note.text, and takes it only if it is of the same database.
func parseLast(content []byte, database identity) (n note, ok bool) {
	words := strings.Fields(string(content))
	if len(words) < 7 {
		return note{}, false
	}
	var key, chain []byte
	var kind uint8
	m := &n.mark
	if _, err := fmt.Sscanf(strings.Join(words[1:6], " "), "%x %x %d %d %d",
		&key, &chain, &kind, &m.Level, &m.Round); err != nil {
		return note{}, false
	}
	if len(key) != len(m.Key) || len(chain) != len(m.ChainID) {
		return note{}, false
	}
	m.Key, m.ChainID, m.Kind = tezos.PublicKeyHash(key), tezos.ChainID(chain), tezos.Kind(kind)
	if len(words) == 11 {
		t := &n.totals
		if _, err := fmt.Sscanf(strings.Join(words[6:9], " "), "%d %x %x", &t.rows, &t.high, &t.low); err != nil {
			return note{}, false
		}
		n.boot = words[9]
	}
	was, err := parseIdentity(words[0])
	return n, err == nil && was.is(database) && string(n.text(was)) == string(content)
}

// checkLast tells whether the last mark is among the marks.
func checkLast(path string, said *note, all ratchet.Snapshot) Finding {
	if said == nil || said.mark.Kind == 0 {
		return Finding{}
	}
	return missing(path, said.mark, all)
}

// missing tells whether the marks have reached m.
func missing(path string, m ratchet.Mark, all ratchet.Snapshot) Finding {
	if there := all.Standing(m).Mark; there != nil && !m.Above(there.Mark) {
		return Finding{}
	}
	return Finding{RolledBack, fmt.Sprintf("%s has lost %s level %d and round %d of %s, which was signed: its -wal is "+
		"damaged, or its content is older", path, m.Kind, m.Level, m.Round, m.Key)}
}
