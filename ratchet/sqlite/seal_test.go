package sqlite_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// sealedFile makes a closed ratchet with a row of each kind: a mark, a registration with a floor and one
// without, and a key that was never used.
func sealedFile(t *testing.T) string {
	t.Helper()
	path := newFile(t)
	db := open(t, path, options{})
	register(t, db, baker, mainnet, 5)
	if err := db.RegisterNew(t.Context(), keyNumber(2)); err != nil {
		t.Fatal(err)
	}
	mustSign(t, db, block(10, 1), bytesNumber(0))
	m := block(20, 0)
	m.Key = keyNumber(2)
	mustSign(t, db, m, bytesNumber(1))
	closeDB(t, db)
	return path
}

// alter runs statements on a closed ratchet, without regard to the checks of the schema.
func alter(t *testing.T, path, statements string) {
	t.Helper()
	pool := openPool(t, "file:"+path+"?_ignore_check_constraints=1")
	if _, err := pool.ExecContext(t.Context(), statements); err != nil {
		t.Fatal(err)
	}
	if err := pool.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestChangedRowIsRefused changes each column of each table. Each change leaves a row that a ratchet could
// have: only the seal shows it.
func TestChangedRowIsRefused(t *testing.T) {
	t.Parallel()
	digest, key := bytesNumber(9).Digest(), keyNumber(7)
	other := signatureOf(t, bytesNumber(9), 0)
	const mark, registration, unread = "the mark of tz", "the registration of tz", "a row cannot be read: "
	for statement, want := range map[string]string{
		fmt.Sprintf("UPDATE marks SET key = x'%x' WHERE level = 10", key[:]):                          mark,
		fmt.Sprintf("UPDATE marks SET chain = x'%x'", ghostnet[:]):                                    mark,
		"UPDATE marks SET kind = 0x12":                                                                mark,
		"UPDATE marks SET level = 9 WHERE level = 10":                                                 mark,
		"UPDATE marks SET level = 11 WHERE level = 10":                                                mark,
		"UPDATE marks SET round = 0 WHERE round = 1":                                                  mark,
		fmt.Sprintf("UPDATE marks SET digest = x'%x'", digest[:]):                                     mark,
		fmt.Sprintf("UPDATE marks SET signature = '%v'", other):                                       mark,
		"UPDATE marks SET signature = 'edsigx'":                                                       "a stored signature",
		"UPDATE marks SET level = 2147483648":                                                         unread,
		"UPDATE registrations SET from_level = 2147483648":                                            unread,
		"UPDATE marks SET time = time + 1":                                                            mark,
		"UPDATE marks SET time = NULL":                                                                mark,
		"UPDATE marks SET signature = NULL":                                                           mark,
		"UPDATE marks SET seal = NULL":                                                                mark,
		"UPDATE marks SET seal = zeroblob(16)":                                                        mark,
		fmt.Sprintf("UPDATE registrations SET key = x'%x' WHERE from_level = 5", key[:]):              registration,
		fmt.Sprintf("UPDATE registrations SET chain = x'%x'", ghostnet[:]):                            registration,
		"UPDATE registrations SET from_level = 4 WHERE from_level = 5":                                registration,
		"UPDATE registrations SET from_level = NULL":                                                  registration,
		"UPDATE registrations SET from_level = 0 WHERE from_level IS NULL":                            registration,
		"UPDATE registrations SET seal = NULL":                                                        registration,
		"UPDATE registrations SET not_after = 9":                                                      registration,
		"UPDATE registrations SET retired = 'x'":                                                      registration,
		"UPDATE registrations SET fence = 1, known = 0":                                               registration,
		"UPDATE never_used SET retired = 'x'":                                                         registration,
		"UPDATE never_used SET fence = 1, known = 0":                                                  registration,
		fmt.Sprintf("UPDATE never_used SET key = x'%x'", key[:]):                                      registration,
		"UPDATE never_used SET seal = NULL":                                                           registration,
		"INSERT INTO never_used (key, seal) SELECT key, seal FROM registrations WHERE from_level = 5": registration,
	} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			path := sealedFile(t)
			alter(t, path, statement)
			_, examined := sqlite.Examine(t.Context(), path)
			for range 2 {
				_, opened := openDB(t.Context(), path, options{})
				for _, err := range []error{examined, opened} {
					if !errors.Is(err, ratchet.ErrSuspect) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
						t.Errorf("got %v, want %v, %s… and one line", err, ratchet.ErrSuspect, want)
					}
				}
			}
		})
	}
}

// TestRowThatChangesWhileOpen: when the transaction meets a row that was changed, the ratchet fails.
func TestRowThatChangesWhileOpen(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	mustSign(t, db, block(10, 0), bytesNumber(0))
	if err := db.Exec("UPDATE marks SET level = 99"); err != nil {
		t.Fatal(err)
	}
	d := bytesNumber(1)
	release, err := db.Sign(t.Context(), block(11, 0), d, new(card).Sign(d))
	if !errors.Is(err, ratchet.ErrStopped) || !strings.Contains(err.Error(), "is not as it was written") || release != (ratchet.Release{}) {
		t.Errorf("got %+v, %v, want %v", release, err, ratchet.ErrStopped)
	}
	if err := db.Err(); !errors.Is(err, ratchet.ErrSuspect) {
		t.Errorf("failed with %v, want %v", err, ratchet.ErrSuspect)
	}
}

// TestRegistrationThatChangesWhileOpen: so it does for a floor that was raised, which would refuse what may be
// signed.
func TestRegistrationThatChangesWhileOpen(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{"UPDATE registrations SET from_level = 50", "UPDATE registrations SET seal = zeroblob(16), from_level = 50"} {
		db := openRegistered(t, options{})
		mustSign(t, db, block(10, 0), bytesNumber(0))
		if err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
		d := bytesNumber(1)
		if _, err := db.Sign(t.Context(), block(11, 0), d, new(card).Sign(d)); !errors.Is(err, ratchet.ErrStopped) || !errors.Is(db.Err(), ratchet.ErrSuspect) {
			t.Errorf("%s: got %v, failed with %v, want %v", statement, err, db.Err(), ratchet.ErrSuspect)
		}
	}
}

// TestExamineOfAKeyThatIsNone: Examine runs SQLite's own checks.
func TestExamineOfAKeyThatIsNone(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"marks", "registrations", "never_used"} {
		path := sealedFile(t)
		alter(t, path, "UPDATE "+table+" SET key = x'ff' WHERE key = (SELECT max(key) FROM "+table+")")
		if _, err := sqlite.Examine(t.Context(), path); !errors.Is(err, ratchet.ErrSuspect) || !strings.Contains(err.Error(), "CHECK constraint failed in "+table) {
			t.Errorf("%s: got %v, want %v", table, err, ratchet.ErrSuspect)
		}
	}
}

// TestNewerInTheWAL: a file whose -wal has a newer schema version than its header.
func TestNewerInTheWAL(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	db := open(t, path, options{})
	if err := db.ExecOutside(t.Context(), fmt.Sprintf("PRAGMA user_version = %d", sqlite.SchemaVersion+1)); err != nil {
		t.Fatal(err)
	}
	head, wal := read(t, path), read(t, path+"-wal")
	abandon(t, db) // which copies the -wal into the file, as a kill does not
	write(t, path, head)
	write(t, path+"-wal", wal)
	for range 2 {
		if _, err := sqlite.Read(t.Context(), path); err == nil || !strings.Contains(err.Error(), "use the newer pawl") {
			t.Errorf("a reader got %v", err)
		}
		if _, err := openDB(t.Context(), path, options{}); err == nil || !strings.Contains(err.Error(), "use the newer pawl") {
			t.Errorf("got %v", err)
		}
	}
}

// unseal takes a closed ratchet back to schema version 1, with the same rows.
func unseal(t *testing.T, path string) {
	t.Helper()
	schema, err := os.ReadFile("testdata/schema-1.sql")
	if err != nil {
		t.Fatal(err)
	}
	columns := map[string]string{"marks": "key, chain, kind, level, round, digest, signature", "registrations": "key, chain, from_level", "never_used": "key"}
	var before, after strings.Builder
	for table, names := range columns {
		fmt.Fprintf(&before, "CREATE TEMP TABLE old_%s AS SELECT %s FROM %[1]s; DROP TABLE %[1]s;", table, names)
		fmt.Fprintf(&after, "INSERT INTO %s SELECT * FROM old_%[1]s;", table)
	}
	alter(t, path, before.String()+string(schema)+after.String()+"DROP TABLE totals; DROP TABLE machine; PRAGMA user_version = 1")
}

// takeTimes takes a closed ratchet back to schema version 3: its marks have no times.
func takeTimes(t *testing.T, path string) {
	t.Helper()
	pool := openPool(t, "file:"+path)
	pool.SetMaxOpenConns(1)
	all := signedRows(t, pool)
	run(t, pool, "ALTER TABLE marks DROP COLUMN time")
	for _, r := range all {
		signature, err := tezos.ParseSignature(r.Signature)
		if err != nil {
			t.Fatal(err)
		}
		seal := seal2(byte('m'), r.Key, r.Chain, r.Kind, r.Level, r.Round, r.Digest, signature.Bytes())
		run(t, pool, "UPDATE marks SET seal = ? WHERE key = ? AND chain = ? AND kind = ?", seal, r.Key, r.Chain, r.Kind)
	}
	_, high, low := totals3(t, pool)
	run(t, pool, "UPDATE totals SET high = ?, low = ?", high, low)
	run(t, pool, "PRAGMA user_version = 3")
	closePool(t, path, pool)
}

// signedRow is a mark with a signature, as SQL has it.
type signedRow struct {
	Key, Chain, Digest []byte
	Kind               uint8
	Level, Round       int32
	Signature          string
}

func signedRows(t *testing.T, pool *sql.DB) (all []signedRow) {
	t.Helper()
	rows, err := pool.QueryContext(t.Context(), "SELECT key, chain, digest, kind, level, round, signature FROM marks")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var r signedRow
		if err := rows.Scan(&r.Key, &r.Chain, &r.Digest, &r.Kind, &r.Level, &r.Round, &r.Signature); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// timeless are marks as older pawls have stored them.
func timeless(marks []ratchet.StoredMark) (older []ratchet.StoredMark) {
	for _, m := range marks {
		m.Time = time.Time{}
		older = append(older, m)
	}
	return older
}

// TestUpgrade: a ratchet without seals keeps each row, and has seals from the first opening on.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	path := sealedFile(t)
	db := open(t, path, options{})
	marks, registrations := contents(t, db)
	closeDB(t, db)
	unseal(t, path)
	examined, err := sqlite.Examine(t.Context(), path)
	if err != nil || examined.Marks != len(marks) || len(examined.Registrations) != len(registrations) {
		t.Errorf("examined before the upgrade: %+v, %v", examined, err)
	}
	for range 2 {
		db := open(t, path, options{})
		gotMarks, gotRegistrations := contents(t, db)
		if diff := cmp.Diff(timeless(marks), gotMarks, sameSignature) + cmp.Diff(registrations, withoutFences(gotRegistrations)); diff != "" {
			t.Errorf("after the upgrade (-before +after):\n%s", diff)
		}
		if version, err := db.QueryString("PRAGMA user_version"); err != nil || version != fmt.Sprint(sqlite.SchemaVersion) {
			t.Errorf("schema version %s, %v, want the present one", version, err)
		}
		again := mustSign(t, db, block(10, 1), bytesNumber(0))
		if !again.Stored {
			t.Error("the signature was not the stored one")
		}
		closeDB(t, db)
	}
	alter(t, path, "UPDATE marks SET level = 9 WHERE level = 10")
	if _, err := openDB(t.Context(), path, options{}); !errors.Is(err, ratchet.ErrSuspect) {
		t.Errorf("a changed row after the upgrade: got %v, want %v", err, ratchet.ErrSuspect)
	}
}

func contents(t *testing.T, db *DB) ([]ratchet.StoredMark, []ratchet.Registration) {
	t.Helper()
	marks, err := db.TableMarks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	registrations, err := db.Registrations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return marks, registrations
}

// TestSealIsThatOfOneRow: rows that differ in one column have different seals.
func TestSealIsThatOfOneRow(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	signature, other := signatureOf(t, bytesNumber(0), 0), signatureOf(t, bytesNumber(0), 1)
	base := block(1, 2)
	for name, change := range map[string]func(*ratchet.StoredMark){
		"same":            func(*ratchet.StoredMark) {},
		"key":             func(m *ratchet.StoredMark) { m.Key = keyNumber(9) },
		"chain":           func(m *ratchet.StoredMark) { m.ChainID = ghostnet },
		"kind":            func(m *ratchet.StoredMark) { m.Kind = tezos.Attestation },
		"level and round": func(m *ratchet.StoredMark) { m.Level, m.Round = 2, 1 },
		"digest":          func(m *ratchet.StoredMark) { m.Digest[31] ^= 1 },
		"signature":       func(m *ratchet.StoredMark) { m.Signature = &other },
		"none":            func(m *ratchet.StoredMark) { m.Signature = nil },
		"time":            func(m *ratchet.StoredMark) { m.Time = time.UnixMilli(1) },
		"later":           func(m *ratchet.StoredMark) { m.Time = time.UnixMilli(2) },
		"time, none":      func(m *ratchet.StoredMark) { m.Signature, m.Time = nil, time.UnixMilli(1) },
	} {
		m := ratchet.StoredMark{Mark: base, Digest: bytesNumber(0).Digest(), Signature: &signature}
		change(&m)
		seal := string(sqlite.SealOf(m))
		if twin, double := seen[seal]; double {
			t.Errorf("%s has the seal of %s", name, twin)
		}
		seen[seal] = name
	}
}

// sameSignature compares signatures as ==.
var sameSignature = cmp.Comparer(func(a, b tezos.Signature) bool { return a == b })

// TestFlippedBits: whichever bit of a closed ratchet is flipped, it is refused, or its keys are fenced, or all
// rows are as before.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	path := sealedFile(t)
	db := open(t, path, options{})
	marks, registrations := contents(t, db)
	closeDB(t, db)
	left := read(t, path)
	var used []int // bytes in a page's head or a row, and some beside them
	for at := range left {
		if len(bytes.Trim(left[max(0, at-4):min(len(left), at+5)], "\x00")) > 0 {
			used = append(used, at)
		}
	}
	const flips = 300
	refused := 0
	for range flips {
		flipped, at, bit := bytes.Clone(left), used[rand.IntN(len(used))], rand.IntN(8)
		flipped[at] ^= 1 << bit
		write(t, path, flipped)
		db, err := openDB(t.Context(), path, options{})
		if err == nil {
			gotMarks, gotRegistrations := contents(t, db)
			diff := cmp.Diff(marks, gotMarks, sameSignature) + cmp.Diff(registrations, withoutFences(gotRegistrations))
			if diff != "" && db.Finding().Verdict < sqlite.RolledBack {
				t.Errorf("bit %d of byte %d: opened, with (-before +after):\n%s", bit, at, diff)
			}
			closeDB(t, db)
		} else {
			refused++
		}
		write(t, path, left)
		for _, suffix := range []string{"-wal", "-opening", "-last"} {
			_ = os.Remove(path + suffix)
		}
	}
	t.Logf("%d flips in %d bytes, %d refused", flips, len(used), refused)
}
