package sqlite

// How the file was left, and whether it is still that file.

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pawl/internal/durable"
)

// The suffixes of the files beside the database file.
const (
	walSuffix     = "-wal"
	journalSuffix = "-journal"
	shmSuffix     = "-shm"
	openingSuffix = "-opening" // names the -wal that an opening is about to empty and fill
	keptSuffix    = "-kept"    // a second name of the -wal while SQLite connects
	lastSuffix    = "-last"    // the last mark
)

// maxNote bounds the note of an opening, in bytes: an identity has 41.
const maxNote = 256

// provenance is the row that says how the file was left.
type provenance struct {
	clean    bool // closed, not killed
	database identity
	wal      identity // the -wal of the last opening
}

// readProvenance reads the row from the database file alone. It does not read the -wal, and writes and
// locks nothing (immutable=1): a refused file stays as it is, and is refused again.
func readProvenance(ctx context.Context, path string) (provenance, error) {
	var p provenance
	clean, database, wal, err := provenanceRow(ctx, path)
	if err != nil {
		return p, verdict(Lost, fmt.Sprintf("reading the provenance of %s: %v", path, err))
	}
	p.clean = clean
	if p.database, err = parseIdentity(database); err != nil {
		return p, verdict(Lost, fmt.Sprintf("%s: %v", path, err))
	}
	if p.wal, err = parseIdentity(wal); err != nil {
		return p, verdict(Lost, fmt.Sprintf("%s: %v", path, err))
	}
	return p, nil
}

// provenanceRow reads a file that may be shorter than its header says: a checkpoint copies the header
// first, and if it is killed then, the rest is in the -wal. SQLite takes that for damage unless the
// schema is writable. A connection can set that only before it opens the file, so the file is attached
// to another database.
func provenanceRow(ctx context.Context, path string) (clean bool, database, wal string, err error) {
	pool, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		return false, "", "", err
	}
	defer func() { _ = pool.Close() }()
	pool.SetMaxOpenConns(1) // the statements are of one connection
	if _, err := pool.ExecContext(ctx, "PRAGMA writable_schema = ON"); err != nil {
		return false, "", "", err
	}
	if _, err := pool.ExecContext(ctx, "ATTACH ? AS ratchet", sourceOf(path, "mode=ro&immutable=1")); err != nil {
		return false, "", "", err
	}
	row := pool.QueryRowContext(ctx, "SELECT clean, database, wal FROM ratchet.provenance")
	err = row.Scan(&clean, &database, &wal)
	return clean, database, wal, err
}

// check compares the row with the files that are there now. wal is nil if there is no -wal. A file that
// Close has closed has none, with two exceptions: a Close that was killed leaves the recorded -wal, and
// an opening that was killed leaves an empty one, or the one that its note names. A file that was not
// closed has the recorded -wal, or that of the note. If that is gone or empty, whole must say that
// nothing is missing. Another -wal than that was put there, mostly with older content of the file.
func (p provenance) check(path string, database file, wal *file, whole func() error) (found Finding, err error) {
	switch {
	case wal != nil && readOpening(path).is(wal.identity):
	case wal == nil && !p.clean:
		err = lostUnless(whole(), fmt.Sprintf("%s was not closed and its -wal is gone", path))
	case wal != nil && !p.clean && wal.size == 0:
		err = lostUnless(whole(), fmt.Sprintf("%s was not closed and its -wal was emptied", path))
	case wal == nil || p.wal.is(wal.identity):
	case !p.clean:
		found = Finding{RolledBack, fmt.Sprintf("%s was not closed and its -wal is another file", path)}
	case wal.size > 0:
		found = Finding{RolledBack, fmt.Sprintf("%s was closed and yet has a -wal with content", path)}
	}
	if !p.database.is(database.identity) {
		return Finding{Moved, otherFile(path)}, nil
	}
	return found, err
}

// lostUnless returns the verdict for a file without its -wal: nil if nothing is missing.
func lostUnless(missing error, text string) error {
	if missing == nil {
		return nil
	}
	return verdict(Lost, fmt.Sprintf("%s, and %v", text, missing))
}

// lookupWAL examines the -wal; nil means that there is none. An opening that was killed may have left
// it with its second name too, or with that one alone.
func lookupWAL(path string) (*file, error) {
	wal, kept, err := walNames(path)
	if err != nil {
		return nil, err
	}
	names := uint32(1)
	switch {
	case wal == nil && kept == nil:
		return nil, nil
	case wal == nil:
		wal = kept
	case kept != nil:
		names = 2
	}
	switch {
	case !wal.regular():
		return nil, verdict(Moved, fmt.Sprintf("%s is a link", path+walSuffix))
	case wal.links != names:
		return nil, severalNames(path+walSuffix, wal.links)
	}
	return wal, nil
}

// walNames examines the -wal under its name and under its second one, nil for none, and refuses two
// files.
func walNames(path string) (wal, kept *file, err error) {
	if wal, err = lookupOptional(path + walSuffix); err != nil {
		return nil, nil, err
	}
	if kept, err = lookupOptional(path + keptSuffix); err != nil {
		return nil, nil, err
	}
	if wal != nil && kept != nil && (wal.device != kept.device || wal.inode != kept.inode) {
		return nil, nil, verdict(Moved, fmt.Sprintf("%s and %s are two files", path+walSuffix, path+keptSuffix))
	}
	return wal, kept, nil
}

// prepareWAL makes an empty -wal if there is none, and writes the -opening note that names the -wal, so
// that its identity is on disk before SQLite writes to it. Without the note a kill during the opening
// transaction would leave what looks like a stray -wal, and a kill after the checkpoint that empties
// the -wal what looks like a loss.
func prepareWAL(path string, database file, wal *file) (file, error) {
	if wal == nil {
		if err := createEmpty(path + walSuffix); err != nil {
			return file{}, err
		}
	}
	made, err := lookup(path + walSuffix)
	if err != nil {
		return file{}, err
	}
	if err := beside(path, walSuffix, database); err != nil {
		return file{}, err
	}
	note := path + openingSuffix
	if !readOpening(path).is(made.identity) { // a right note must not be gone while it is written again
		if err := os.WriteFile(note, []byte(made.String()), 0o600); err != nil {
			return file{}, foreignOwner(path, openingSuffix, err)
		}
	}
	if err := errors.Join(beside(path, openingSuffix, database), durable.Sync(note)); err != nil {
		return file{}, err
	}
	return made, durable.Sync(filepath.Dir(path))
}

// holdWAL gives the -wal a second name. A connection that fails before keepWAL copies the -wal into the
// database when it closes, and removes it: no mark would be lost, and yet the next opening would be
// refused. On a file system without hard links that can happen.
func holdWAL(path string) { _ = os.Link(path+walSuffix, path+keptSuffix) }

// freeWAL removes the second name of the -wal. If that is the only one left, it becomes the first. Whether
// it is the right -wal is for provenance.check to say.
func freeWAL(path string) error {
	wal, kept, err := walNames(path)
	switch {
	case err != nil || kept == nil:
		return err
	case wal == nil:
		return os.Rename(path+keptSuffix, path+walSuffix) //nolint:gosec // the operator's own ratchet path
	}
	return os.Remove(path + keptSuffix) //nolint:gosec // the operator's own ratchet path
}

// readOpening returns the file that the note of an interrupted opening names. A note that is missing or
// incomplete names none: it was written while the -wal was empty.
func readOpening(path string) identity {
	text, _, err := durable.ReadFile(path+openingSuffix, maxNote)
	if err != nil {
		return identity{}
	}
	named, err := parseIdentity(strings.TrimSpace(string(text)))
	if err != nil {
		return identity{}
	}
	return named
}

// createEmpty makes an empty file. It is an error if there is one.
func createEmpty(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator's own ratchet path
	if err != nil {
		return err
	}
	return f.Close()
}
