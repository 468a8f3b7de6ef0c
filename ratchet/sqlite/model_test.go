package sqlite_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-sqlite3"
	"pgregory.net/rapid"

	"pawl/ratchet"
	"pawl/tezos"
)

// model is the ratchet in plain Go: for each slot key the highest level and round, the bytes signed there and
// the signature that was released.
type model map[ratchet.Mark]modelRow

type modelRow struct {
	level, round int32
	digest       tezos.Digest
	signature    tezos.Signature
}

// sign returns what must be released, and whether that is the fresh signature, or that it must be refused.
func (m model) sign(mark ratchet.Mark, d tezos.Message, fresh tezos.Signature) (release tezos.Signature, isFresh, refused bool) {
	key := mark
	key.Level, key.Round = 0, 0
	row, ok := m[key]
	higher := !ok || mark.Level > row.level || mark.Level == row.level && mark.Round > row.round
	switch {
	case higher && mark.Level > m.highest(mark)+modelGap:
		return tezos.Signature{}, false, true
	case higher:
		m[key] = modelRow{mark.Level, mark.Round, d.Digest(), fresh}
		return fresh, true, false
	case mark.Level == row.level && mark.Round == row.round && d.Digest() == row.digest:
		return row.signature, false, false
	}
	return tezos.Signature{}, false, true
}

// modelGap is the level gap of the model's file. Its keys are registered from level 0.
const modelGap = 3

// highest is the highest level of all kinds of the mark's key and chain.
func (m model) highest(mark ratchet.Mark) (level int32) {
	for kind := range m {
		if kind.Key == mark.Key && kind.ChainID == mark.ChainID {
			level = max(level, m[kind].level)
		}
	}
	return level
}

// TestModel runs random requests, failures, closes and kills against the model.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		run := &modelRun{rt: rt, path: newFile(t), want: model{}, given: make(map[ratchet.Mark]tezos.Signature)}
		run.open(t)
		for n := range 2 {
			register(t, run.db, keyNumber(n), mainnet, 0)
			register(t, run.db, keyNumber(n), ghostnet, 0)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"sign":        func(rt *rapid.T) { run.sign(rt, true) },
			"transaction": func(rt *rapid.T) { run.sign(rt, false) },
			"hsm fails":   run.signFails,
			"full":        func(rt *rapid.T) { run.commitFails(rt, false, ratchet.ErrCommit) },
			"lost answer": func(rt *rapid.T) { run.commitFails(rt, true, ratchet.ErrStopped) },
			"lost commit": func(rt *rapid.T) { run.commitFails(rt, false, ratchet.ErrStopped) },
			"close":       func(*rapid.T) { closeDB(t, run.db); run.open(t) },
			"kill":        func(*rapid.T) { abandon(t, run.db); run.open(t) },
			"":            run.check,
		})
		closeDB(t, run.db)
	})
}

type modelRun struct {
	rt    *rapid.T
	path  string
	db    *DB
	want  model
	given map[ratchet.Mark]tezos.Signature // all that ever left
	made  int
}

func (r *modelRun) open(t *testing.T) {
	t.Helper()
	db, err := openDB(context.Background(), r.path, options{MaxLevelGap: modelGap})
	if err != nil {
		r.rt.Fatalf("Open: %v", err)
	}
	r.db = db
}

// draw makes a request, close to the others, and a signature for it.
func (r *modelRun) draw(rt *rapid.T) (ratchet.Mark, tezos.Message, tezos.Signature) {
	m := ratchet.Mark{
		Key:     keyNumber(rapid.IntRange(0, 1).Draw(rt, "key")),
		ChainID: rapid.SampledFrom([]tezos.ChainID{mainnet, ghostnet}).Draw(rt, "chain"),
		Kind:    rapid.SampledFrom([]tezos.Kind{tezos.Block, tezos.Preattestation, tezos.Attestation}).Draw(rt, "kind"),
		Level:   rapid.Int32Range(0, 12).Draw(rt, "level"),
		Round:   rapid.Int32Range(0, 2).Draw(rt, "round"),
	}
	d := bytesNumber(rapid.IntRange(0, 2).Draw(rt, "bytes"))
	r.made++
	return m, d, signatureFrom(d, r.made)
}

func (r *modelRun) sign(rt *rapid.T, look bool) {
	m, d, fresh := r.draw(rt)
	want, isFresh, refused := r.want.sign(m, d, fresh)
	sign := r.db.Place
	if look {
		sign = func(m ratchet.Mark, d tezos.Message, fresh tezos.Signature) (ratchet.Release, error) {
			return r.db.Sign(context.Background(), m, d, func(context.Context, tezos.Message) (tezos.Signature, error) { return fresh, nil })
		}
	}
	got, err := sign(m, d, fresh)
	if refused {
		if !errors.Is(err, ratchet.ErrRefused) {
			rt.Fatalf("%+v: got %+v, %v, want it refused", m, got, err)
		}
		return
	}
	if err != nil || got.Signature != want || got.Stored == isFresh {
		rt.Fatalf("%+v: got %+v, %v, want %s, fresh %t", m, got, err, want, isFresh)
	}
	if before, ok := r.given[m]; ok && before != got.Signature {
		rt.Fatalf("%+v: two signatures left, %s and %s", m, before, got.Signature)
	}
	r.given[m] = got.Signature
}

func (r *modelRun) signFails(rt *rapid.T) {
	m, d, _ := r.draw(rt)
	_, err := r.db.Sign(context.Background(), m, d, func(context.Context, tezos.Message) (tezos.Signature, error) {
		return tezos.Signature{}, errors.New("CKR_FUNCTION_FAILED")
	})
	row, ok := r.want[ratchet.Mark{Key: m.Key, ChainID: m.ChainID, Kind: m.Kind}]
	stored := ok && row.level == m.Level && row.round == m.Round && row.digest == d.Digest()
	if stored != (err == nil) {
		rt.Fatalf("%+v with an HSM that fails: %v, want no error to be %t", m, err, stored)
	}
}

// commitFails makes COMMIT report a failure. After one of unknown outcome the file is opened again.
func (r *modelRun) commitFails(rt *rapid.T, stored bool, want error) {
	m, d, fresh := r.draw(rt)
	fault := sqlite3.Error{Code: sqlite3.ErrIoErr}
	if errors.Is(want, ratchet.ErrCommit) {
		fault.Code = sqlite3.ErrFull
	}
	r.db.SetCommit(func(commit, rollback func() error) error {
		if stored {
			return errors.Join(commit(), fault)
		}
		return errors.Join(rollback(), fault)
	})
	got, err := r.db.Place(m, d, fresh)
	if !errors.Is(err, want) || got != (ratchet.Release{}) {
		rt.Fatalf("%+v with a COMMIT that fails: got %+v, %v, want %v", m, got, err, want)
	}
	if stored {
		r.want.sign(m, d, fresh) // it is in the row, though it did not leave
	}
	r.db.SetCommit(nil)
	if errors.Is(want, ratchet.ErrStopped) {
		if err := errors.Join(r.db.Abandon()); err != nil {
			rt.Fatal(err)
		}
		db, err := openDB(context.Background(), r.path, options{MaxLevelGap: modelGap})
		if err != nil {
			rt.Fatalf("Open after a failure: %v", err)
		}
		r.db = db
	}
}

// check compares all marks after every step.
func (r *modelRun) check(rt *rapid.T) {
	tables, err := r.db.Tables(context.Background())
	marks := tables.Marks
	if listed, err := r.db.Ratchet.List(context.Background()); err != nil || !cmp.Equal(listed, tables, sameSignature) {
		rt.Fatalf("List tells %+v, %v, the tables have %+v", listed, err, tables)
	}
	if err != nil || len(marks) != len(r.want) {
		rt.Fatalf("%d marks, %v, want %d", len(marks), err, len(r.want))
	}
	for _, got := range marks {
		key := got.Mark
		key.Level, key.Round = 0, 0
		if want := r.want[key]; got.Level != want.level || got.Round != want.round || got.Digest != want.digest {
			rt.Fatalf("mark %+v, want %+v", got, want)
		}
	}
}
