package kill_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"pawl/ratchet"
	"pawl/tezos"
)

// oracle judges all that was ever released: each slot has one payload and one
// signature, which verifies. It knows nothing of the daemon.
type oracle struct {
	keys map[tezos.PublicKeyHash]tezos.PublicKey

	mu        sync.Mutex
	slots     map[ratchet.Mark]release
	releases  int
	conflicts []error
}

// release is the one signature of a slot.
type release struct {
	payload   []byte
	signature string
}

func newOracle(keys []tezos.PublicKey) *oracle {
	o := &oracle{keys: make(map[tezos.PublicKeyHash]tezos.PublicKey), slots: make(map[ratchet.Mark]release)}
	for _, key := range keys {
		o.keys[key.Hash()] = key
	}
	return o
}

// released takes a signature that somebody has got.
func (o *oracle) released(mark ratchet.Mark, payload []byte, signature string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.releases++
	if err := o.judge(mark, payload, signature); err != nil {
		o.conflicts = append(o.conflicts, fmt.Errorf("%v %v (%d,%d): %w", mark.Key, mark.Kind, mark.Level, mark.Round, err))
	}
}

func (o *oracle) judge(mark ratchet.Mark, payload []byte, signature string) error {
	sig, err := tezos.ParseSignature(signature)
	if err != nil {
		return err
	}
	if err := o.keys[mark.Key].Verify(tezos.DigestOf(payload), sig); err != nil {
		return err
	}
	first, taken := o.slots[mark]
	switch {
	case !taken:
		o.slots[mark] = release{payload, signature}
	case !bytes.Equal(first.payload, payload):
		return fmt.Errorf("signatures of two payloads: %x and %x", first.payload, payload)
	case first.signature != signature:
		return fmt.Errorf("two signatures: %s and %s", first.signature, signature)
	}
	return nil
}

// verdict is nil as long as there was no conflict.
func (o *oracle) verdict() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return errors.Join(o.conflicts...)
}

// TestOracle plants what must never be released: an oracle that is content
// with everything proves nothing.
func TestOracle(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	compressed := append([]byte{2 + point[64]&1}, point[1:33]...)
	key, err := tezos.NewPublicKey(tezos.P256, compressed)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(a ask) string {
		digest := a.digest()
		r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		raw := make([]byte, 64)
		r.FillBytes(raw[:32])
		s.FillBytes(raw[32:])
		sig, err := tezos.NewSignature(tezos.P256, raw)
		if err != nil {
			t.Fatal(err)
		}
		return sig.LowS().String()
	}
	slot := func(kind tezos.Kind, level, round int32, variant int) ask {
		return ask{ratchet.Mark{Key: key.Hash(), ChainID: chain, Kind: kind, Level: level, Round: round}, variant}
	}
	base := slot(tezos.Block, 5, 1, 0)
	signature := sign(base)
	for _, test := range []struct {
		name    string
		ask     ask
		payload []byte
		sig     string
		want    string // part of the verdict; "" is none
	}{
		{"the same again", base, base.payload(), signature, ""},
		{"next round", slot(tezos.Block, 5, 2, 0), slot(tezos.Block, 5, 2, 0).payload(), sign(slot(tezos.Block, 5, 2, 0)), ""},
		{"other kind", slot(tezos.Attestation, 5, 1, 0), slot(tezos.Attestation, 5, 1, 0).payload(), sign(slot(tezos.Attestation, 5, 1, 0)), ""},
		{"other payload of the slot", base, slot(tezos.Block, 5, 1, 1).payload(), sign(slot(tezos.Block, 5, 1, 1)), "two payloads"},
		{"second signature of the payload", base, base.payload(), sign(base), "two signatures"},
		{"signature of another payload", slot(tezos.Block, 6, 0, 0), slot(tezos.Block, 6, 0, 0).payload(), signature, "does not verify"},
		{"no signature", slot(tezos.Block, 6, 0, 0), slot(tezos.Block, 6, 0, 0).payload(), "p2sig", "signature"},
	} {
		o := newOracle([]tezos.PublicKey{key})
		o.released(base.mark, base.payload(), signature)
		o.released(test.ask.mark, test.payload, test.sig)
		switch err := o.verdict(); {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v, want no conflict", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}
