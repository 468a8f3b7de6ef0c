package daemon_test

import (
	"context"
	"errors"
	"testing"

	"pawl/ratchet/ratchettest"
	"pawl/signer/grep11"
	"pawl/softcard/cardtest"
	"pawl/tezos"
)

// The next blobs of two keys are exchanged in keys.json, and so are then their first ones. No signature
// of the wrong key is released. Once keys.json is put right both keys sign, without a restart.
func TestExchangedBlobsArePutRight(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	other := cardtest.Generate(t, f.card.Dial(t), tezos.P256)
	f.inRatchet(func(db *ratchettest.DB) error { return db.RegisterNew(t.Context(), other.PublicKey.Hash()) })
	made := []grep11.Generated{f.made, other}
	f.writeKeys(made, nil)
	s, _, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	level := uint32(5)
	want := func(when string, good bool) {
		t.Helper()
		for _, key := range made {
			level++
			p := block(level, 0, 0)
			res, err := s.Sign(t.Context(), key.PublicKey.Hash(), p)
			switch {
			case good && (err != nil || key.PublicKey.Verify(tezos.NewMessage(p), res.Signature) != nil):
				t.Errorf("%s: %v", when, err)
			case !good && !errors.Is(err, tezos.ErrBadSignature):
				t.Errorf("%s: %v, want a bad signature", when, err)
			}
		}
	}
	reload := func(next []grep11.Generated) {
		f.writeKeys(made, next)
		s.Reload(context.Background())
	}
	want("before", true)
	if err := errors.Join(f.card.Dir.LoadNext(), f.card.Dir.CommitNext()); err != nil {
		t.Fatal(err)
	}
	next := make([]grep11.Generated, len(made))
	for i, key := range made {
		blob, err := f.card.Dial(t).Rewrap(t.Context(), key.Blob)
		if err != nil {
			t.Fatal(err)
		}
		next[i] = grep11.Generated{PublicKey: key.PublicKey, Blob: blob}
	}
	exchanged := []grep11.Generated{{Blob: next[1].Blob}, {Blob: next[0].Blob}}
	reload(exchanged)
	want("not finalised", true)
	if err := f.card.Dir.Finalise(); err != nil {
		t.Fatal(err)
	}
	want("finalised", false)
	want("finalised, again", false)
	reload(next)
	want("put right", true)

	made[0].Blob, made[1].Blob = exchanged[0].Blob, exchanged[1].Blob
	f.writeKeys(made, nil)
	closeSigner(t, s)
	if s, _, err = f.open(); err != nil {
		t.Fatal(err)
	}
	defer closeSigner(t, s)
	want("exchanged at the start", false)
	made = next
	reload(nil)
	want("put right after the start", true)
}

// writeKeys makes keys.json with these keys and, where given, their next blobs.
func (f *folder) writeKeys(made, next []grep11.Generated) {
	keys := make(map[string]any)
	for i, key := range made {
		entry := map[string]any{"public_key": key.PublicKey.String(), "secret_key": key.Blob.Hex()}
		if next != nil {
			entry["secret_key_next"] = next[i].Blob.Hex()
		}
		keys[key.PublicKey.Hash().String()] = entry
	}
	f.write(map[string]any{"keys": keys})
}
