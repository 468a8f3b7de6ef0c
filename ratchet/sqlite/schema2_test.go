package sqlite_test

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/blake2b"
	"golang.org/x/sys/unix"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// A file of schema version 2, made here by SQL and bytes alone, with nothing of the package: what
// pawls that are in use have written must be read for ever.

// held is what the file holds, in the order of [ratchet.Snapshot].
func held(t *testing.T) ratchet.Snapshot {
	t.Helper()
	mark := func(kind tezos.Kind, level, round int32) ratchet.StoredMark {
		m, d := block(level, round), bytesNumber(int(level))
		m.Kind = kind
		signature := signatureOf(t, d, 0)
		return ratchet.StoredMark{Mark: m, Digest: d.Digest(), Signature: &signature}
	}
	imported := block(70, 2)
	imported.ChainID = ghostnet
	return ratchet.Snapshot{
		Marks: []ratchet.StoredMark{
			mark(tezos.Block, 10, 1), mark(tezos.Preattestation, 11, 0), mark(tezos.Attestation, 12, 3), {Mark: imported},
		},
		Registrations: []ratchet.Registration{
			{Key: baker, ChainID: mainnet, FromLevel: 5},
			{Key: baker, ChainID: ghostnet, NoFloor: true},
			{Key: keyNumber(2), AnyChain: true},
		},
	}
}

// seal2 is the seal of a row: the first half of the BLAKE2b-256 of all that is in it.
func seal2(parts ...any) []byte {
	var row bytes.Buffer
	for _, part := range parts {
		if err := binary.Write(&row, binary.BigEndian, part); err != nil {
			panic(err)
		}
	}
	sum := blake2b.Sum256(row.Bytes())
	return sum[:16]
}

// identity2 is how the provenance row names a file: inode and birth time.
func identity2(t *testing.T, path string) string {
	t.Helper()
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%020d/%020d", st.Ino, st.Btime.Sec*1e9+int64(st.Btime.Nsec))
}

// noFile has the length of every identity.
var noFile = strings.Repeat("0", 20) + "/" + strings.Repeat("0", 20)

// run executes statements on the one connection of a pool.
func run(t *testing.T, pool *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := pool.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// make2 makes the file with its tables and an open connection to it.
func make2(t *testing.T, clean int) (string, *sql.DB) {
	t.Helper()
	return makeFile(t, "testdata/schema-2.sql", clean)
}

func makeFile(t *testing.T, tables string, clean int) (string, *sql.DB) {
	t.Helper()
	schema, err := os.ReadFile(tables)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ratchet.db")
	write(t, path, nil)
	pool := openPool(t, "file:"+path)
	pool.SetMaxOpenConns(1)
	run(t, pool, string(schema))
	run(t, pool, "PRAGMA journal_mode = WAL")
	run(t, pool, "INSERT INTO provenance VALUES (1, 1 << 24, ?, ?, ?)", clean, identity2(t, path), noFile)
	run(t, pool, "PRAGMA wal_checkpoint(TRUNCATE)")
	return path, pool
}

const markInsert = "INSERT INTO marks (key, chain, kind, level, round, digest, signature, seal)"

// fill2 writes the rows. Later versions have more columns.
func fill2(t *testing.T, pool *sql.DB) {
	t.Helper()
	all := held(t)
	for _, m := range all.Marks {
		if m.Signature == nil { // imported
			seal := seal2(byte('m'), m.Key, m.ChainID, byte(m.Kind), m.Level, m.Round, make([]byte, 32))
			run(t, pool, markInsert+" VALUES (?, ?, ?, ?, ?, NULL, NULL, ?)",
				m.Key[:], m.ChainID[:], m.Kind, m.Level, m.Round, seal)
			continue
		}
		seal := seal2(byte('m'), m.Key, m.ChainID, byte(m.Kind), m.Level, m.Round, m.Digest, m.Signature.Bytes())
		run(t, pool, markInsert+" VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			m.Key[:], m.ChainID[:], m.Kind, m.Level, m.Round, m.Digest[:], m.Signature.String(), seal)
	}
	const insert = "INSERT INTO registrations (key, chain, from_level, seal) VALUES (?, ?, ?, ?)"
	for _, r := range all.Registrations {
		switch {
		case r.AnyChain:
			run(t, pool, "INSERT INTO never_used (key, seal) VALUES (?, ?)", r.Key[:], seal2(byte('r'), r.Key, r.ChainID, byte('a')))
		case r.NoFloor:
			run(t, pool, insert, r.Key[:], r.ChainID[:], nil, seal2(byte('r'), r.Key, r.ChainID))
		default:
			run(t, pool, insert, r.Key[:], r.ChainID[:], r.FromLevel, seal2(byte('r'), r.Key, r.ChainID, r.FromLevel))
		}
	}
}

// closed2 is such a file, closed.
func closed2(t *testing.T) string {
	t.Helper()
	path, pool := make2(t, 1)
	fill2(t, pool)
	return closePool(t, path, pool)
}

func closePool(t *testing.T, path string, pool *sql.DB) string {
	t.Helper()
	if err := pool.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// killed2 is one whose process was killed: all rows are in the -wal alone. SQLite would copy them into
// the file as the connection is closed, so both files are put back after that.
func killed2(t *testing.T) string {
	t.Helper()
	path, pool := make2(t, 0)
	fill2(t, pool)
	return killPool(t, path, pool)
}

func killPool(t *testing.T, path string, pool *sql.DB) string {
	t.Helper()
	database, wal := read(t, path), read(t, path+"-wal")
	if err := pool.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, path+"-wal", wal)
	if bytes.Count(database, []byte(noFile)) != 1 || bytes.Contains(database, baker[:]) {
		t.Fatal("the provenance row is not in the file, or other rows are")
	}
	write(t, path, bytes.Replace(database, []byte(noFile), []byte(identity2(t, path+"-wal")), 1))
	return path
}

// TestSchema2 opens such a file and signs with it.
func TestSchema2(t *testing.T) {
	t.Parallel()
	testFixtures(t, held(t), map[string]func(*testing.T) string{"closed": closed2, "killed": killed2})
}

// testFixtures opens files that hold what want says.
func testFixtures(t *testing.T, want ratchet.Snapshot, fixtures map[string]func(*testing.T) string) {
	t.Helper()
	for name, fixture := range fixtures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := fixture(t)
			found, err := sqlite.Read(t.Context(), path)
			if diff := cmp.Diff(want, found.Snapshot, sameSignature); err != nil || diff != "" {
				t.Errorf("Read: %v (-want +got):\n%s", err, diff)
			}
			db := open(t, path, options{})
			opened, err := db.Ratchet.List(t.Context())
			if diff := cmp.Diff(unfenced(want), unfenced(opened), sameSignature); err != nil || diff != "" {
				t.Errorf("List: %v (-want +got):\n%s", err, diff)
			}
			if db.Finding().Verdict != sqlite.Unwitnessed {
				t.Errorf("opened as %v, want %v: there is no note", db.Finding().Verdict, sqlite.Unwitnessed)
			}
			for _, m := range want.Marks[:3] {
				signsOn(t, db, m)
			}
			for _, m := range []ratchet.Mark{want.Marks[3].Mark, block(4, 0)} {
				if _, err := db.Sign(t.Context(), m, bytesNumber(0), new(card).Sign(bytesNumber(0))); !errors.Is(err, ratchet.ErrRefused) {
					t.Errorf("%+v: %v, want it refused", m, err)
				}
			}
			fresh := block(1_000_000, 0)
			fresh.Key = keyNumber(2) // it may sign on any chain, from any level, but that nothing witnesses that it has not
			_, err = db.Sign(t.Context(), fresh, bytesNumber(0), new(card).Sign(bytesNumber(0)))
			wantRefused(t, err, ratchet.Fenced, "")
			fresh.Level++
			mustSign(t, db, fresh, bytesNumber(0))
		})
	}
}

// unfenced are the rows without their fences.
func unfenced(all ratchet.Snapshot) ratchet.Snapshot {
	all.Registrations = withoutFences(all.Registrations)
	return all
}

// withoutFences: the first start of a newer pawl finds no witness.
func withoutFences(rows []ratchet.Registration) []ratchet.Registration {
	rows = slices.Clone(rows)
	for i := range rows {
		rows[i].Fence = ratchet.Fence{}
	}
	return rows
}

// signsOn wants the stored signature of a mark, other bytes refused, and the next level signed.
func signsOn(t *testing.T, db *DB, m ratchet.StoredMark) {
	t.Helper()
	var c card
	d, other := bytesNumber(int(m.Level)), bytesNumber(99)
	if got, err := db.Sign(t.Context(), m.Mark, d, c.Sign(d)); err != nil || !got.Stored || got.Signature != *m.Signature {
		t.Errorf("%s, the same bytes: got %+v, %v, want the stored %s", m.Kind, got, err, m.Signature)
	}
	_, err := db.Sign(t.Context(), m.Mark, other, c.Sign(other))
	wantRefused(t, err, ratchet.OtherBytes, "")
	if c.Calls.Load() != 0 {
		t.Errorf("%s: the HSM was asked", m.Kind)
	}
	next := m.Mark
	next.Level++
	if got := mustSign(t, db, next, other); got.Stored {
		t.Errorf("%s, the next level: got a stored signature", m.Kind)
	}
}
