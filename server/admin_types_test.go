package server_test

import (
	"testing"

	"pawl/ratchet"
	"pawl/server"
	"pawl/tezos"
)

func TestMarkRoundTrip(t *testing.T) {
	t.Parallel()
	stored := ratchet.StoredMark{
		Mark: ratchet.Mark{
			Key: tezos.PublicKeyHash{byte(tezos.P256), 7}, ChainID: tezos.ChainID{0x7a, 0x06, 0xa7, 0x70},
			Kind: tezos.Attestation, Level: 12, Round: 3,
		},
		Digest:    tezos.DigestOf([]byte("payload")),
		Signature: new(tezos.Signature),
	}
	got, err := server.NewMark(stored).Stored()
	if err != nil || got.Mark != stored.Mark || got.Digest != stored.Digest || got.Signature == nil {
		t.Errorf("got %+v, %v, want %+v", got, err, stored)
	}
	unsigned := stored
	unsigned.Signature = nil
	if got, err := server.NewMark(unsigned).Stored(); err != nil || got != unsigned {
		t.Errorf("got %+v, %v, want %+v", got, err, unsigned)
	}
	for name, spoil := range map[string]func(*server.Mark){
		"key":    func(m *server.Mark) { m.PublicKeyHash = "tz3" },
		"chain":  func(m *server.Mark) { m.ChainID = "NetX" },
		"kind":   func(m *server.Mark) { m.Kind = "endorsement" },
		"digest": func(m *server.Mark) { m.Digest = m.Digest[2:] },
	} {
		m := server.NewMark(stored)
		spoil(&m)
		if got, err := m.Stored(); err == nil || got != (ratchet.StoredMark{}) {
			t.Errorf("bad %s: got %+v, %v, want an error and nothing else", name, got, err)
		}
	}
}
