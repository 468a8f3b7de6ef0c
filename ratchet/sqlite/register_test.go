package sqlite_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-sqlite3"

	"pawl/ratchet"
	"pawl/ratchet/ratchettest"
	"pawl/tezos"
)

// TestRegisterIsNotLeft: a registration that has begun is finished and reported even if ctx ends, or the
// ratchet would have a key that nobody else knows of.
func TestRegisterIsNotLeft(t *testing.T) {
	t.Parallel()
	db := open(t, newFile(t), options{})
	ctx, leave := context.WithCancel(t.Context())
	db.SetCommit(func(commit, _ func() error) error {
		leave()
		time.Sleep(50 * time.Millisecond)
		return commit()
	})
	if err := db.Register(ctx, baker, mainnet, 0); err != nil {
		t.Errorf("Register: %v, want it done", err)
	}
	db.SetCommit(nil)
	mustSign(t, db, block(1, 0), bytesNumber(1))
	if err := db.Register(ctx, baker, ghostnet, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("Register by one who has left: %v, want %v", err, context.Canceled)
	}
}

// TestListWaitsForNobody: those who only want to know are told what is committed while a commit hangs,
// and are not in its way. What is not committed they are not told.
func TestListWaitsForNobody(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	mustSign(t, db, block(1, 0), bytesNumber(1))
	committing, release := make(chan struct{}), make(chan struct{})
	db.SetCommit(func(commit, _ func() error) error { close(committing); <-release; return commit() })
	answer := ask(t.Context(), db, block(2, 0), bytesNumber(2), new(card).Sign(bytesNumber(2)))
	<-committing
	told := make(chan ratchet.Snapshot, 1)
	go func() {
		all, err := db.Ratchet.List(context.Background())
		if err != nil {
			t.Errorf("while a commit hangs: %v", err)
		}
		told <- all
	}()
	select {
	case all := <-told:
		if len(all.Marks) != 1 || all.Marks[0].Level != 1 || len(all.Registrations) != 1 {
			t.Errorf("while a commit hangs: %+v, want the mark of level 1 and the registration", all)
		}
	case <-time.After(10 * time.Second):
		t.Error("while a commit hangs nobody is told")
	}
	if standing, err := db.Look(t.Context(), block(2, 0)); err != nil || standing.Highest != 1 {
		t.Errorf("Look while a commit hangs: %+v, %v, want level 1", standing, err)
	}
	close(release)
	if got := <-answer; got.Err != nil {
		t.Fatal(got.Err)
	}
	if all, err := db.Ratchet.List(t.Context()); err != nil || len(all.Marks) != 1 || all.Marks[0].Level != 2 {
		t.Errorf("after the commit: %+v, %v, want the mark of level 2", all, err)
	}
}

// TestUnregisteredIsRefused: the look refuses, and so does the transaction alone.
func TestUnregisteredIsRefused(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	chain, key := block(5, 0), block(5, 0)
	chain.ChainID = ghostnet
	key.Key = keyNumber(2)
	for name, m := range map[string]ratchet.Mark{"another chain": chain, "another key": key} {
		d := bytesNumber(0)
		_, err := db.Sign(t.Context(), m, d, func(context.Context, tezos.Message) (tezos.Signature, error) {
			t.Errorf("%s: the HSM was asked", name)
			return signatureOf(t, d, 0), nil
		})
		wantRefused(t, err, ratchet.NotRegistered, "")
		release, err := db.Place(m, d, signatureOf(t, d, 0))
		wantRefused(t, err, ratchet.NotRegistered, "")
		if release != (ratchet.Release{}) {
			t.Errorf("%s: released %+v", name, release)
		}
	}
	if marks, err := db.TableMarks(t.Context()); err != nil || len(marks) != 0 {
		t.Errorf("marks %+v, %v, want none", marks, err)
	}
}

// TestMarkAloneIsNoRegistration: neither is the registration of another key, or on another chain.
func TestMarkAloneIsNoRegistration(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	register(t, db, keyNumber(2), mainnet, 0)
	register(t, db, baker, ghostnet, 0)
	mustSign(t, db, block(1, 0), bytesNumber(0))
	err := db.Exec("DELETE FROM registrations WHERE key = ? AND chain = ?", baker[:], mainnet[:])
	if err := errors.Join(err, db.Retotal()); err != nil {
		t.Fatal(err)
	}
	_, err = db.Place(block(2, 0), bytesNumber(0), signatureOf(t, bytesNumber(0), 0))
	wantRefused(t, err, ratchet.NotRegistered, "")
	closeDB(t, db)

	db = open(t, db.Path(), options{Witness: ratchettest.NoWitness}) // the look knows only the tables now
	var c card
	_, err = db.Sign(t.Context(), block(2, 0), bytesNumber(0), c.Sign(bytesNumber(0)))
	wantRefused(t, err, ratchet.NotRegistered, "")
	if c.Calls.Load() != 0 {
		t.Error("the HSM was asked for a key that is not registered")
	}
	wantLookOfTables(t, db, baker)
}

// wantLookOfTables compares what Look tells of a key with what the tables hold.
func wantLookOfTables(t *testing.T, db *DB, key tezos.PublicKeyHash) {
	t.Helper()
	all, err := db.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listed, err := db.Ratchet.List(t.Context())
	if diff := cmp.Diff(all, listed, sameSignature); err != nil || diff != "" {
		t.Errorf("List: %v (-tables +List):\n%s", err, diff)
	}
	for _, chain := range []tezos.ChainID{mainnet, ghostnet} {
		m := ratchet.Mark{Key: key, ChainID: chain, Kind: tezos.Block}
		got, err := db.Look(t.Context(), m)
		if diff := cmp.Diff(all.Standing(m), got, sameSignature); err != nil || diff != "" {
			t.Errorf("Look at %s on %s: %v (-tables +Look):\n%s", key, chain, err, diff)
		}
	}
}

// TestLookIsThatOfTheTables, whoever registered what: an operator, or the first request on a chain to a
// key that was new.
func TestLookIsThatOfTheTables(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	fresh := keyNumber(2)
	if err := db.RegisterNew(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	m := block(10, 0)
	m.Key, m.ChainID = fresh, ghostnet
	mustSign(t, db, m, bytesNumber(0))
	odd := ratchet.Registration{Key: baker, ChainID: ghostnet, FromLevel: 5, NoFloor: true}
	if _, err := db.Change(t.Context(), ratchet.Registering(odd)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantLookOfTables(t, db, baker)
		wantLookOfTables(t, db, fresh)
		closeDB(t, db)
		db = open(t, db.Path(), options{})
	}
}

// TestFloorAndGap runs its table through Sign and through the transaction alone.
func TestFloorAndGap(t *testing.T) {
	t.Parallel()
	const (
		fine  = ratchet.Reason(0)
		gap   = ratchet.LevelGap
		floor = ratchet.BelowFloor
	)
	for name, c := range map[string]struct {
		floor int32
		mark  int32 // 0: none
		ask   int32
		want  ratchet.Reason
	}{
		"at the floor":                           {1000, 0, 1000, fine},
		"below the floor":                        {1000, 0, 999, floor},
		"level 0 below the floor":                {1000, 0, 0, floor},
		"gap above the floor":                    {1000, 0, 1100, fine},
		"more than the gap above the floor":      {1000, 0, 1101, gap},
		"gap above the mark":                     {1000, 1050, 1150, fine},
		"more than the gap above the mark":       {1000, 1050, 1151, gap},
		"a floor above the mark, from the floor": {5000, 1050, 5100, fine},
		"a floor above the mark, over the gap":   {5000, 1050, 5101, gap},
		"between mark and floor":                 {5000, 1050, 4999, floor},
		"below the mark, in the mark's words":    {1000, 1050, 1049, ratchet.BelowWatermark},
		"the highest level":                      {1000, 1050, 1<<31 - 1, gap},
		"the highest level above floor 0":        {0, 0, 1<<31 - 1, gap},
		"from the highest floor":                 {1<<31 - 1, 0, 1<<31 - 1, fine},
	} {
		for _, way := range []string{"Sign", "transaction"} {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				db := openRegistered(t, options{MaxLevelGap: 100})
				if c.mark > 0 {
					register(t, db, baker, mainnet, 1000)
					mustSign(t, db, block(c.mark, 0), bytesNumber(0))
				}
				register(t, db, baker, mainnet, c.floor)
				d := bytesNumber(1)
				sign := db.Place
				if way == "Sign" {
					sign = func(m ratchet.Mark, d tezos.Message, fresh tezos.Signature) (ratchet.Release, error) {
						return db.Sign(t.Context(), m, d, func(context.Context, tezos.Message) (tezos.Signature, error) { return fresh, nil })
					}
				}
				_, err := sign(block(c.ask, 0), d, signatureOf(t, d, 0))
				if c.want == fine {
					if err != nil {
						t.Errorf("got %v, want it signed", err)
					}
					return
				}
				wantRefused(t, err, c.want, "")
			})
		}
	}
}

// ways are the two ways to a verdict: Sign, which looks first, and the transaction alone.
func ways(db *DB) map[string]func(ratchet.Mark, tezos.Message) error {
	return map[string]func(ratchet.Mark, tezos.Message) error{
		"Sign": func(m ratchet.Mark, d tezos.Message) error {
			_, err := db.Sign(context.Background(), m, d, new(card).Sign(d))
			return err
		},
		"transaction": func(m ratchet.Mark, d tezos.Message) error {
			_, err := db.Place(m, d, signatureFrom(d, 0))
			return err
		},
	}
}

// TestGapCountsAllKinds is a baker that attests at every level and bakes once in four days: its block
// counts from its attestations. Of another key or chain no mark counts.
func TestGapCountsAllKinds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		newKey bool
		blocks bool // one block was signed at the floor
		vote   int32
		ask    int32
		want   ratchet.Reason
	}{
		"the gap above the votes":                 {false, true, 1090, 1190, 0},
		"over the gap above the votes":            {false, true, 1090, 1191, ratchet.LevelGap},
		"a first block, the gap above the votes":  {false, false, 1090, 1190, 0},
		"a first block, over the gap":             {false, false, 1090, 1191, ratchet.LevelGap},
		"a new key's first block, the gap":        {true, false, 1090, 1190, 0},
		"a new key's first block, over the gap":   {true, false, 1090, 1191, ratchet.LevelGap},
		"a new key's first block, the last level": {true, false, 1090, 1<<31 - 1, ratchet.LevelGap},
	} {
		for _, way := range []string{"Sign", "transaction"} {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				db := open(t, newFile(t), options{MaxLevelGap: 100})
				if c.newKey {
					if err := db.RegisterNew(t.Context(), baker); err != nil {
						t.Fatal(err)
					}
				} else {
					register(t, db, baker, mainnet, 1000)
				}
				register(t, db, keyNumber(2), mainnet, 9000)
				other := ratchet.Mark{Key: keyNumber(2), ChainID: mainnet, Kind: tezos.Attestation, Level: 9000}
				mustSign(t, db, other, bytesNumber(0))
				if !c.newKey {
					register(t, db, baker, ghostnet, 9000)
					other.Key, other.ChainID = baker, ghostnet
					mustSign(t, db, other, bytesNumber(0))
				}
				if c.blocks {
					mustSign(t, db, block(1000, 0), bytesNumber(10))
				}
				vote := block(c.vote, 0)
				vote.Kind = tezos.Attestation
				mustSign(t, db, vote, bytesNumber(11))
				err := ways(db)[way](block(c.ask, 0), bytesNumber(12))
				if c.want == 0 {
					if err != nil {
						t.Errorf("got %v, want it signed", err)
					}
					return
				}
				wantRefused(t, err, c.want, "")
				if refused, ok := errors.AsType[*ratchet.RefusedError](err); !ok || refused.Level != c.vote {
					t.Errorf("got %v, want it counted from %d", err, c.vote)
				}
			})
		}
	}
}

// TestFloorConfinesNewKey: once an operator has registered a chain, a key that was made here signs on no
// other chain that it has not signed on already.
func TestFloorConfinesNewKey(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"Sign", "transaction"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			db := open(t, newFile(t), options{})
			if err := db.RegisterNew(t.Context(), baker); err != nil {
				t.Fatal(err)
			}
			opened, stray := block(10, 0), block(10, 0)
			opened.ChainID, stray.ChainID = ghostnet, tezos.ChainID{9}
			mustSign(t, db, opened, bytesNumber(0))
			register(t, db, baker, mainnet, 1000)
			for range 2 {
				wantRefused(t, ways(db)[way](stray, bytesNumber(0)), ratchet.NotRegistered, "")
				mustSign(t, db, block(1000, 0), bytesNumber(0))
				mustSign(t, db, opened, bytesNumber(0))
				closeDB(t, db)
				db = open(t, db.Path(), options{})
			}
			opened.Level++
			mustSign(t, db, opened, bytesNumber(1))
		})
	}
}

func TestDefaultGapIsFourDays(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	mustSign(t, db, block(57_600, 0), bytesNumber(0))
	d := bytesNumber(1)
	_, err := db.Sign(t.Context(), block(57_600+57_601, 0), d, new(card).Sign(d))
	wantRefused(t, err, ratchet.LevelGap, "")
	for _, part := range []string{"block level 115201", "57600", "--from-level 115201 --far"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	register(t, db, baker, mainnet, 115_201) // the remedy
	mustSign(t, db, block(115_201, 0), d)
	if _, err := openDB(t.Context(), db.Path(), options{MaxLevelGap: -1}); err == nil {
		t.Error("a negative gap was accepted")
	}
}

// TestRegisterNear: a level that a person has typed is no more than the gap above the registered level
// and the marks of all kinds, if there are any.
func TestRegisterNear(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		floor, vote int32 // -1: none
		from        int32
		good        bool
	}{
		"nothing is known":          {-1, -1, 100_000_000, true},
		"a time, nothing is known":  {-1, -1, 1_764_567_890, false},
		"more than any chain has":   {-1, -1, 100_000_001, false},
		"a high floor, and more":    {900_000_000, -1, 900_000_100, true},
		"the gap above the floor":   {1000, -1, 1100, true},
		"over the gap above it":     {1000, -1, 1101, false},
		"the gap above a mark":      {1000, 1090, 1190, true},
		"over the gap above a mark": {1000, 1090, 1191, false},
		"one digit too many":        {1000, 1090, 10900, false},
		"a Unix time":               {1000, 1090, 1796100000, false},
		"below the mark":            {1000, 1090, 1050, true},
		"below the floor":           {1000, 1090, 999, false},
		"the same":                  {1000, 1090, 1000, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, newFile(t), options{MaxLevelGap: 100})
			if c.floor >= 0 {
				register(t, db, baker, mainnet, c.floor)
			}
			if c.vote >= 0 {
				vote := block(c.vote, 0)
				vote.Kind = tezos.Attestation
				mustSign(t, db, vote, bytesNumber(0))
			}
			r := ratchet.Registration{Key: baker, ChainID: mainnet, FromLevel: c.from}
			_, err := db.Change(t.Context(), func(held ratchet.Snapshot) (ratchet.Changes, error) {
				return held.RegisterNear(r, db.MaxLevelGap())
			})
			if refused, ok := errors.AsType[*ratchet.FloorError](err); c.good != (err == nil) || !c.good && !ok {
				t.Errorf("got %v (%+v), want good to be %t", err, refused, c.good)
			}
			all, err := db.Tables(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wantFloor := max(0, c.floor)
			if c.good {
				wantFloor = c.from
			}
			if s := all.Standing(ratchet.Mark{Key: baker, ChainID: mainnet}); s.Floor != wantFloor {
				t.Errorf("registered from level %d, want %d", s.Floor, wantFloor)
			}
		})
	}
}

func TestFloorOnlyRises(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	db := open(t, path, options{})
	for _, step := range []struct {
		from int32
		good bool
	}{{100, true}, {100, true}, {99, false}, {0, false}, {200, true}, {100, false}, {-1, false}} {
		if err := db.Register(t.Context(), baker, mainnet, step.from); (err == nil) != step.good {
			t.Errorf("from level %d: got %v, want good to be %t", step.from, err, step.good)
		}
	}
	want := []ratchet.Registration{{Key: baker, ChainID: mainnet, FromLevel: 200}}
	for range 2 {
		got, err := db.Registrations(t.Context())
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		closeDB(t, db)
		db = open(t, path, options{})
	}
	d := bytesNumber(0)
	_, err := db.Sign(t.Context(), block(199, 0), d, new(card).Sign(d))
	wantRefused(t, err, ratchet.BelowFloor, "block level 199 below the level 200 from which the key is registered")
}

// TestNewKeySignsAnywhere: the first request on a chain registers it, up to eight.
func TestNewKeySignsAnywhere(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	db := open(t, path, options{})
	if err := db.RegisterNew(t.Context(), baker); err != nil {
		t.Fatal(err)
	}
	want := []ratchet.Registration{{Key: baker, AnyChain: true}}
	for n := range 8 {
		m := block(12_000_000+int32(n), 0)
		m.ChainID = tezos.ChainID{byte(n)}
		if n%2 == 0 {
			mustSign(t, db, m, bytesNumber(n))
		} else if _, err := db.Place(m, bytesNumber(n), signatureOf(t, bytesNumber(n), 0)); err != nil {
			t.Fatal(err)
		}
		m.Kind = tezos.Attestation // no gap applies to the first mark of any kind
		mustSign(t, db, m, bytesNumber(n))
		m.Level += ratchet.DefaultMaxLevelGap + 1
		_, err := db.Sign(t.Context(), m, bytesNumber(n), new(card).Sign(bytesNumber(n)))
		wantRefused(t, err, ratchet.LevelGap, "")
		want = append(want, ratchet.Registration{Key: baker, ChainID: m.ChainID, NoFloor: true})
	}
	for range 2 {
		ninth := block(1, 0)
		ninth.ChainID = tezos.ChainID{8}
		d := bytesNumber(8)
		_, err := db.Sign(t.Context(), ninth, d, new(card).Sign(d))
		wantRefused(t, err, ratchet.TooManyChains, "")
		_, err = db.Place(ninth, d, signatureOf(t, d, 0))
		wantRefused(t, err, ratchet.TooManyChains, "")
		got, err := db.Registrations(t.Context())
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		closeDB(t, db)
		db = open(t, path, options{})
	}
}

func TestOperatorRegistersEightChains(t *testing.T) {
	t.Parallel()
	db := open(t, newFile(t), options{})
	for n := range 8 {
		register(t, db, baker, tezos.ChainID{byte(n)}, 10)
	}
	wantRefused(t, db.Register(t.Context(), baker, tezos.ChainID{8}, 10), ratchet.TooManyChains, "")
	register(t, db, baker, tezos.ChainID{7}, 20)
	register(t, db, keyNumber(2), tezos.ChainID{8}, 10)
}

// TestStrayChainsLeaveRoom: after requests for eight stray chains the operator can still register the right
// one.
func TestStrayChainsLeaveRoom(t *testing.T) {
	t.Parallel()
	db := open(t, newFile(t), options{})
	if err := db.RegisterNew(t.Context(), baker); err != nil {
		t.Fatal(err)
	}
	m := block(10, 0)
	for n := range 8 {
		m.ChainID = tezos.ChainID{byte(n)}
		mustSign(t, db, m, bytesNumber(0))
	}
	m.ChainID = mainnet
	_, err := db.Sign(t.Context(), m, bytesNumber(0), new(card).Sign(bytesNumber(0)))
	wantRefused(t, err, ratchet.TooManyChains, "")
	register(t, db, baker, mainnet, 10)
	mustSign(t, db, m, bytesNumber(0))
}

func TestKnownKeyIsNotNew(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(*testing.T, *DB) error{
		"registered": func(t *testing.T, db *DB) error {
			t.Helper()
			return db.Register(t.Context(), baker, mainnet, 1)
		},
		"registered as new": func(t *testing.T, db *DB) error { t.Helper(); return db.RegisterNew(t.Context(), baker) },
		"has a mark": func(t *testing.T, db *DB) error {
			t.Helper()
			_, err := db.Change(t.Context(), merging(ratchet.Snapshot{Marks: []ratchet.StoredMark{{Mark: block(1, 0)}}}))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, newFile(t), options{})
			if err := use(t, db); err != nil {
				t.Fatal(err)
			}
			err := db.RegisterNew(t.Context(), baker)
			if err == nil || !strings.Contains(err.Error(), "pawl ratchet register "+baker.String()) {
				t.Errorf("got %v, want an error and its remedy", err)
			}
			if err := db.RegisterNew(t.Context(), keyNumber(2)); err != nil {
				t.Errorf("another key: %v", err)
			}
		})
	}
}

// TestNewKeyWithFloor: an operator may give a new key a floor later.
func TestNewKeyWithFloor(t *testing.T) {
	t.Parallel()
	db := open(t, newFile(t), options{})
	if err := db.RegisterNew(t.Context(), baker); err != nil {
		t.Fatal(err)
	}
	mustSign(t, db, block(10, 0), bytesNumber(0))
	register(t, db, baker, mainnet, 50)
	d := bytesNumber(1)
	for _, sign := range []func() error{
		func() error { _, err := db.Sign(t.Context(), block(49, 0), d, new(card).Sign(d)); return err },
		func() error { _, err := db.Place(block(49, 0), d, signatureOf(t, d, 0)); return err },
	} {
		wantRefused(t, sign(), ratchet.BelowFloor, "")
	}
	mustSign(t, db, block(50, 0), d)
}

func TestLeftCallerRegistersNothing(t *testing.T) {
	t.Parallel()
	db := open(t, newFile(t), options{})
	ctx := canceled(t)
	_, errMarks := db.Marks(ctx)
	_, errRegistrations := db.Registrations(ctx)
	for i, err := range []error{db.Register(ctx, baker, mainnet, 1), db.RegisterNew(ctx, baker), errMarks, errRegistrations} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("call %d: got %v, want %v", i, err, context.Canceled)
		}
	}
	if got, err := db.Registrations(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("registrations %+v, %v, want none", got, err)
	}
}

// TestRegistrationThatIsNotStored is not remembered either: one whose commit fails, one that is refused, and
// one of a level that no chain has. The store goes on after each.
func TestRegistrationThatIsNotStored(t *testing.T) {
	t.Parallel()
	db := openRegistered(t, options{})
	chain := func(i byte) tezos.ChainID { return tezos.ChainID{1, i} }
	for i := range byte(ratchet.MaxChains) {
		register(t, db, keyNumber(3), chain(i), 1)
	}
	db.SetCommit(func(_, rollback func() error) error {
		return errors.Join(rollback(), sqlite3.Error{Code: sqlite3.ErrFull})
	})
	if err := db.Register(t.Context(), keyNumber(4), mainnet, 1); !errors.Is(err, ratchet.ErrCommit) {
		t.Errorf("on a full disk: %v, want %v", err, ratchet.ErrCommit)
	}
	db.SetCommit(nil)
	if err := db.Register(t.Context(), keyNumber(3), mainnet, 1); !errors.Is(err, ratchet.ErrRefused) {
		t.Errorf("one chain too many: %v, want %v", err, ratchet.ErrRefused)
	}
	if err := db.Register(t.Context(), keyNumber(4), mainnet, -1); err == nil || db.Err() != nil {
		t.Errorf("from level -1: %v, failure %v, want it refused and no failure", err, db.Err())
	}
	for _, key := range []tezos.PublicKeyHash{keyNumber(3), keyNumber(4)} {
		if s, err := db.Look(t.Context(), ratchet.Mark{Key: key, ChainID: mainnet}); err != nil || s.Registered {
			t.Errorf("memory has %+v, %v, want no registration", s, err)
		}
		wantLookOfTables(t, db, key)
	}
	mustSign(t, db, block(5, 0), bytesNumber(0))
}
