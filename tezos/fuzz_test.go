package tezos_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"blockwatch.cc/tzgo/base58"

	"pawl/tezos"
)

// genericText returns the sig… form of a signature.
func genericText(tb testing.TB, sig tezos.Signature) string {
	tb.Helper()
	return base58.CheckEncode(sig.Bytes(), []byte{0x04, 0x82, 0x2b})
}

// documented reads level and round from the offsets that the encodings specify.
func documented(payload []byte, key tezos.KeyKind) (level, round uint32) {
	u32 := binary.BigEndian.Uint32
	switch {
	case payload[0] == 0x11:
		fitness := u32(payload[83:])
		return u32(payload[5:]), u32(payload[83+fitness:])
	case key == tezos.BLS12381:
		return u32(payload[38:]), u32(payload[42:])
	}
	return u32(payload[40:]), u32(payload[44:])
}

func FuzzParseRequest(f *testing.F) {
	for _, v := range readVectors(f) {
		key := v.key(f)
		f.Add(v.payload, key[:])
	}
	f.Fuzz(func(t *testing.T, payload, hash []byte) {
		var key tezos.PublicKeyHash
		copy(key[:], hash)
		request, err := tezos.ParseRequest(payload, key)
		if err != nil {
			checkError(t, payload, request, err)
			return
		}
		switch r := request.(type) {
		case tezos.Consensus:
			level, round := documented(payload, key.Kind())
			if r.Level < 0 || r.Round < 0 || uint32(r.Level) != level || uint32(r.Round) != round {
				t.Errorf("level %d, round %d; bytes say %d, %d: %x", r.Level, r.Round, level, round, payload)
			}
			if byte(r.Kind) != payload[0] || [4]byte(r.ChainID) != [4]byte(payload[1:5]) {
				t.Errorf("kind %s, chain %s: %x", r.Kind, r.ChainID, payload)
			}
		case tezos.Operation:
			checkContents(t, r.Contents, key)
		case tezos.Michelson:
		default:
			t.Errorf("request %#v of no kind", r)
		}
	})
}

func checkError(t *testing.T, payload []byte, request tezos.Request, err error) {
	t.Helper()
	var parseErr *tezos.ParseError
	if request != nil || !errors.As(err, &parseErr) || !errors.Is(err, tezos.ErrMalformed) {
		t.Fatalf("request %#v, error %#v", request, err)
	}
	if parseErr.Offset < 0 || parseErr.Offset > len(payload) || len(parseErr.Reason) > 160 {
		t.Errorf("%d bytes: %v", len(payload), err)
	}
}

func checkContents(t *testing.T, contents []tezos.Content, key tezos.PublicKeyHash) {
	t.Helper()
	if len(contents) == 0 {
		t.Error("no contents")
	}
	for _, c := range contents {
		if _, err := tezos.ParseOperationKind(string(c.Kind)); err != nil {
			t.Errorf("content %+v: %v", c, err)
		}
		own := c.Source == key || c.Kind == tezos.OpFailingNoop && c.Source == tezos.PublicKeyHash{}
		if !own && key.Kind() != tezos.BLS12381 {
			t.Errorf("content %+v is not of key %s", c, key)
		}
		if c.Source != contents[0].Source || c.Fee > 1<<63-1 || c.Amount > 1<<63-1 {
			t.Errorf("content %+v", c)
		}
	}
}

func FuzzPublicKeyHash(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add(v.get("key"))
	}
	f.Add("NetXdQprcVkpaWU")
	f.Fuzz(func(t *testing.T, s string) {
		if h, err := tezos.ParsePublicKeyHash(s); err == nil && h.String() != s {
			t.Errorf("%q prints as %q", s, h)
		}
		if id, err := tezos.ParseChainID(s); err == nil && id.String() != s {
			t.Errorf("%q prints as %q", s, id)
		}
	})
}

func FuzzPublicKey(f *testing.F) {
	for text := range publishedKeys {
		f.Add(text, []byte(text))
	}
	for _, v := range readVectors(f) {
		if text := v.get("public_key"); text != "" {
			f.Add(text, []byte(text)[:32])
		}
	}
	f.Fuzz(func(t *testing.T, s string, raw []byte) {
		if key, err := tezos.ParsePublicKey(s); err == nil && key.String() != s {
			t.Errorf("%q prints as %q", s, key)
		}
		for kind := tezos.Ed25519; kind <= tezos.MLDSA44+1; kind++ {
			key, err := tezos.NewPublicKey(kind, raw)
			if err != nil {
				continue
			}
			if again, err := tezos.ParsePublicKey(key.String()); err != nil || again != key {
				t.Errorf("%s %x: parsed again %s, %v", kind, raw, again, err)
			}
		}
	})
}

func FuzzSignature(f *testing.F) {
	keys := map[tezos.KeyKind]tezos.PublicKey{}
	for _, s := range readSigned(f) {
		f.Add(s.text, []byte(s.text)[:64], s.message.Payload())
		keys[s.key.Kind()] = s.key
	}
	f.Fuzz(func(t *testing.T, s string, raw, payload []byte) {
		if sig, err := tezos.ParseSignature(s); err == nil && sig.String() != s {
			t.Errorf("%q prints as %q", s, sig)
		}
		m := tezos.NewMessage(payload)
		for kind, key := range keys {
			sig, err := tezos.NewSignature(kind, raw)
			if err != nil {
				continue
			}
			if again, err := tezos.ParseSignature(sig.String()); err != nil || again != sig {
				t.Errorf("%s %x: parsed again %s, %v", kind, raw, again, err)
			}
			if err := key.Verify(m, sig.LowS()); err == nil && kind != tezos.Ed25519 &&
				key.Verify(m, sig) == nil != (sig == sig.LowS() || kind == tezos.P256) {
				t.Errorf("%s %x: low s verifies", kind, raw)
			}
		}
	})
}
