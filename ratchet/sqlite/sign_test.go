package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// step is a request of a watermark table. bytes tells payloads of one slot apart.
type step struct {
	level, round int32
	bytes        int
	want         string // "" signed, "stored", or the refusal
}

func ok(level, round int32) step { return step{level: level, round: round} }

func no(level, round int32, refusal string) step {
	return step{level: level, round: round, want: refusal}
}

func again(level, round int32) step { return step{level: level, round: round, want: "stored"} }

func other(level, round int32) step {
	return step{
		level: level, round: round, bytes: 1,
		want: fmt.Sprintf("block level %d and round %d already signed with different data", level, round),
	}
}

var watermarkTable = map[string][]step{
	"levels rise":                               {ok(10, 0), ok(11, 0), ok(100, 0), no(99, 0, "block level 99 below high watermark 100")},
	"rounds rise":                               {ok(34, 3), ok(34, 4), no(34, 3, "block level 34 and round 3 not above high watermark (34,4)"), ok(34, 5)},
	"a higher level may have a lower round":     {ok(34, 9), ok(35, 0)},
	"a lower level with a higher round":         {ok(34, 4), no(33, 9, "block level 33 below high watermark 34"), no(2, 0, "block level 2 below high watermark 34")},
	"the same bytes get the stored signature":   {ok(34, 4), again(34, 4), again(34, 4)},
	"other bytes in the same slot":              {ok(34, 4), other(34, 4), again(34, 4)},
	"the same bytes after a higher round":       {ok(34, 4), ok(34, 5), no(34, 4, "block level 34 and round 4 not above high watermark (34,5)")},
	"the same bytes after a higher level":       {ok(34, 4), ok(35, 0), no(34, 4, "block level 34 below high watermark 35")},
	"level and round zero":                      {ok(0, 0), again(0, 0), ok(0, 1), no(0, 0, "block level 0 and round 0 not above high watermark (0,1)")},
	"the highest level and round there are":     {ok(1<<31-1, 1<<31-1), no(1<<31-1, 0, "block level 2147483647 and round 0 not above high watermark (2147483647,2147483647)"), no(0, 0, "block level 0 below high watermark 2147483647")},
	"levels far apart compare without wrapping": {ok(1<<31-1, 0), no(1, 0, "block level 1 below high watermark 2147483647"), again(1<<31-1, 0)},
}

// TestWatermark closes and reopens the file after every step, or kills and reopens it, or keeps it open.
func TestWatermark(t *testing.T) {
	t.Parallel()
	ends := map[string]func(testing.TB, *DB){"stay open": nil, "close": closeDB, "kill": abandon}
	for name, steps := range watermarkTable {
		for end, stop := range ends {
			t.Run(name+"/"+end, func(t *testing.T) {
				t.Parallel()
				opts := options{MaxLevelGap: 1<<31 - 1}
				path := newFile(t)
				db := open(t, path, opts)
				register(t, db, baker, mainnet, 0)
				sign := func(m ratchet.Mark, d tezos.Message, fresh tezos.Signature) (ratchet.Release, error) {
					return db.Sign(t.Context(), m, d, func(context.Context, tezos.Message) (tezos.Signature, error) { return fresh, nil })
				}
				runSteps(t, steps, sign, func() {
					if stop != nil {
						stop(t, db)
						db = open(t, path, opts)
					}
				})
			})
		}
	}
}

// TestTransactionDecides runs the same table without the look before the HSM is asked.
func TestTransactionDecides(t *testing.T) {
	t.Parallel()
	for name, steps := range watermarkTable {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openRegistered(t, options{MaxLevelGap: 1<<31 - 1})
			runSteps(t, steps, db.Place, func() {})
		})
	}
}

func runSteps(t *testing.T, steps []step, sign func(ratchet.Mark, tezos.Message, tezos.Signature) (ratchet.Release, error), after func()) {
	t.Helper()
	released := make(map[ratchet.Mark]tezos.Signature)
	for i, s := range steps {
		m, d := block(s.level, s.round), bytesNumber(s.bytes)
		fresh := signatureOf(t, d, i)
		got, err := sign(m, d, fresh)
		switch s.want {
		case "":
			if err != nil || got.Stored || got.Signature != fresh {
				t.Fatalf("step %d, %d/%d: got %+v, %v, want the fresh signature %s", i, s.level, s.round, got, err, fresh)
			}
			released[m] = fresh
		case "stored":
			if err != nil || !got.Stored || got.Signature != released[m] {
				t.Fatalf("step %d, %d/%d again: got %+v, %v, want the stored signature %s", i, s.level, s.round, got, err, released[m])
			}
		default:
			if !errors.Is(err, ratchet.ErrRefused) || err.Error() != s.want {
				t.Fatalf("step %d, %d/%d: got %v, %v, want refused: %s", i, s.level, s.round, got, err, s.want)
			}
		}
		after()
	}
}

func TestKindsChainsAndKeysAreIndependent(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	register(t, db, baker, ghostnet, 0)
	register(t, db, keyNumber(2), mainnet, 0)
	first := block(100, 5)
	mustSign(t, db, first, bytesNumber(1))
	for _, change := range []func(*ratchet.Mark){
		func(m *ratchet.Mark) { m.Kind = tezos.Preattestation },
		func(m *ratchet.Mark) { m.Kind = tezos.Attestation },
		func(m *ratchet.Mark) { m.ChainID = ghostnet },
		func(m *ratchet.Mark) { m.Key = keyNumber(2) },
	} {
		m := first
		change(&m)
		m.Level, m.Round = 3, 0
		if got := mustSign(t, db, m, bytesNumber(2)); got.Stored {
			t.Errorf("%+v: got the signature of another slot", m)
		}
	}
	marks, err := db.TableMarks(t.Context())
	if err != nil || len(marks) != 5 {
		t.Fatalf("Marks: got %d, %v, want 5", len(marks), err)
	}
	if !slices.ContainsFunc(marks, func(m ratchet.StoredMark) bool {
		return m.Mark == first && m.Digest == bytesNumber(1).Digest() && m.Signature != nil
	}) {
		t.Errorf("Marks: got %+v, want one to be %+v with a signature", marks, first)
	}
}

func TestRefusedRequestCostsNoSignature(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	mustSign(t, db, block(34, 4), bytesNumber(0))
	stranger := block(35, 0)
	stranger.Key = keyNumber(9)
	for name, m := range map[string]ratchet.Mark{
		"below": block(2, 0), "not above": block(34, 3), "other bytes": block(34, 4),
		"gap": block(1_000_000, 0), "not registered": stranger,
	} {
		var c card
		_, err := db.Sign(t.Context(), m, bytesNumber(1), c.Sign(bytesNumber(1)))
		if !errors.Is(err, ratchet.ErrRefused) || c.Calls.Load() != 0 {
			t.Errorf("%s: %d sign calls, error %v, want none and a refusal", name, c.Calls.Load(), err)
		}
	}
	var c card
	got, err := db.Sign(t.Context(), block(34, 4), bytesNumber(0), c.Sign(bytesNumber(0)))
	if err != nil || !got.Stored || got.SignTime != 0 || c.Calls.Load() != 0 {
		t.Errorf("the same bytes: got %+v, %v and %d sign calls, want the stored signature and none", got, err, c.Calls.Load())
	}
}

func TestFailedSignChangesNothing(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	mustSign(t, db, block(34, 4), bytesNumber(0))
	errHSM := errors.New("CKR_DEVICE_ERROR")
	_, err := db.Sign(t.Context(), block(35, 0), bytesNumber(1), func(context.Context, tezos.Message) (tezos.Signature, error) {
		return signatureOf(t, bytesNumber(1), 0), errHSM
	})
	if !errors.Is(err, errHSM) {
		t.Fatalf("got %v, want the error of sign", err)
	}
	marks, err := db.TableMarks(t.Context())
	if err != nil || len(marks) != 1 || marks[0].Level != 34 || marks[0].Round != 4 {
		t.Fatalf("marks after a failed sign: %+v, %v, want 34/4", marks, err)
	}
	if got := mustSign(t, db, block(35, 0), bytesNumber(2)); got.Stored || got.SignTime == 0 {
		t.Errorf("other bytes after a failed sign: got %+v, want them signed", got)
	}
}

func TestEqualDigestDropsFreshSignature(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	m, d := block(34, 4), bytesNumber(0)
	first, second := signatureOf(t, d, 1), signatureOf(t, d, 2)
	if got, err := db.Place(m, d, first); err != nil || got.Signature != first {
		t.Fatalf("first: %+v, %v", got, err)
	}
	got, err := db.Place(m, d, second)
	if err != nil || !got.Stored || got.Signature != first {
		t.Fatalf("a second signature of the same bytes: got %+v, %v, want the stored %s", got, err, first)
	}
	stored, err := db.QueryString("SELECT signature FROM marks")
	if err != nil || stored != first.String() {
		t.Errorf("the row has %s, %v, want %s", stored, err, first)
	}
}

// TestLostSignatureIsCounted: another signature reaches the row while the HSM works on the same bytes.
func TestLostSignatureIsCounted(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	m, d := block(34, 4), bytesNumber(0)
	first := signatureOf(t, d, 1)
	got, err := db.Sign(t.Context(), m, d, func(context.Context, tezos.Message) (tezos.Signature, error) {
		if _, err := db.Place(m, d, first); err != nil {
			t.Error(err)
		}
		return signatureOf(t, d, 2), nil
	})
	if err != nil || !got.Stored || got.Signature != first || got.SignTime != 0 {
		t.Errorf("got %+v, %v, want the stored %s", got, err, first)
	}
	_, err = db.Sign(t.Context(), block(35, 0), d, func(context.Context, tezos.Message) (tezos.Signature, error) {
		if _, err := db.Place(block(36, 0), d, first); err != nil {
			t.Error(err)
		}
		return signatureOf(t, d, 3), nil
	})
	wantRefused(t, err, ratchet.BelowWatermark, "block level 35 below high watermark 36")
	if db.Dropped() != 2 {
		t.Errorf("Dropped is %d, want 2", db.Dropped())
	}
}

func TestMarkWithoutSignatureRefusesItsSlot(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	db := open(t, path, options{})
	register(t, db, baker, mainnet, 0)
	d := bytesNumber(0)
	digest := d.Digest()
	seal := sqlite.SealOf(ratchet.StoredMark{Mark: block(34, 4), Digest: digest})
	err := db.Exec("INSERT INTO marks (key, chain, kind, level, round, digest, seal) VALUES (?, ?, ?, 34, 4, ?, ?)",
		baker[:], mainnet[:], tezos.Block, digest[:], seal)
	if err := errors.Join(err, db.Retotal()); err != nil {
		t.Fatal(err)
	}
	const refusal = "block level 34 and round 4 not above high watermark (34, 4)"
	_, err = db.Place(block(34, 4), d, signatureOf(t, d, 0))
	wantRefused(t, err, ratchet.NoSignature, refusal)
	closeDB(t, db)
	db = open(t, path, options{})
	var c card
	_, err = db.Sign(t.Context(), block(34, 4), d, c.Sign(d))
	wantRefused(t, err, ratchet.NoSignature, refusal)
	mustSign(t, db, block(34, 5), d)
}

func TestMarkNoPayloadCanHold(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	unknown := block(1, 0)
	unknown.Kind = 0x03
	for _, m := range []ratchet.Mark{unknown, block(-1, 0), block(0, -1)} {
		var c card
		_, err := db.Sign(t.Context(), m, bytesNumber(0), c.Sign(bytesNumber(0)))
		if err == nil || errors.Is(err, ratchet.ErrRefused) || c.Calls.Load() != 0 {
			t.Errorf("%+v: got %v and %d sign calls, want an error and none", m, err, c.Calls.Load())
		}
	}
	if err := db.Err(); err != nil {
		t.Errorf("the ratchet failed: %v", err)
	}
}

func TestRefusalNamesItsRemedy(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	m := block(35, 0)
	m.ChainID = ghostnet
	var c card
	_, err := db.Sign(t.Context(), m, bytesNumber(0), c.Sign(bytesNumber(0)))
	wantRefused(t, err, ratchet.NotRegistered, "")
	for _, part := range []string{"not registered", "pawl ratchet register " + baker.String(), "--chain " + ghostnet.String()} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

// TestMarksBearTheirTime: that of the commit, to the millisecond, in memory and in the file.
func TestMarksBearTheirTime(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	db := open(t, path, options{})
	register(t, db, baker, mainnet, 1)
	for level := int32(1); level <= 2; level++ { // the first one is inserted, the second one raises it
		before := time.Now().Truncate(time.Millisecond)
		mustSign(t, db, block(level, 0), bytesNumber(0))
		after := time.Now()
		all, err := db.Ratchet.List(t.Context())
		if err != nil || len(all.Marks) != 1 {
			t.Fatalf("%+v, %v, want one mark", all.Marks, err)
		}
		if at := all.Marks[0].Time; at.Before(before) || at.After(after) || at != at.Truncate(time.Millisecond) {
			t.Errorf("level %d was committed at %v, want a millisecond from %v to %v", level, at, before, after)
		}
		if rows, _ := contents(t, db); rows[0].Time != all.Marks[0].Time {
			t.Errorf("level %d: the table has %v, memory %v", level, rows[0].Time, all.Marks[0].Time)
		}
	}
}
