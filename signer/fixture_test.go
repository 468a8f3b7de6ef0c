package signer_test

import (
	"context"
	"encoding/binary"
	"net"
	"path/filepath"
	"testing"
	"time"

	"pawl/policy"
	"pawl/ratchet/ratchettest"
	"pawl/ratchet/sqlite"
	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/signer/hsm"
	"pawl/softcard"
	"pawl/tezos"
)

var kinds = []tezos.KeyKind{tezos.Ed25519, tezos.Secp256k1, tezos.P256}

// card is a software card behind mutual TLS, which can be stopped and started.
type card struct {
	dir     softcard.Dir
	card    *softcard.Card
	address string
	stop    func()
}

func newCard(t *testing.T) *card {
	t.Helper()
	c := &card{dir: softcard.Dir(filepath.Join(t.TempDir(), "card")), address: "127.0.0.1:0"}
	if _, err := c.dir.Init(); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.card, err = softcard.Open(c.dir); err != nil {
		t.Fatal(err)
	}
	c.start(t)
	return c
}

// start serves the card, at the address that it had before if it had one.
func (c *card) start(t *testing.T) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", c.address)
	if err != nil {
		t.Fatal(err)
	}
	c.address = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.card.Serve(ctx, ln, c.dir, false) }()
	c.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("software card: %v", err)
		}
		c.stop = func() {}
	}
	t.Cleanup(func() { c.stop() })
}

func (c *card) config() grep11.Config {
	file := func(name string) string { return filepath.Join(string(c.dir), name) }
	return grep11.Config{
		Address: c.address, CertPath: file("client.pem"), KeyPath: file("client-key.pem"), CACertPath: file("ca.pem"),
		MaxInFlight: 64,
	}
}

func (c *card) dial(t *testing.T) *grep11.Client {
	t.Helper()
	client, err := grep11.Dial(c.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (c *card) newKey(t *testing.T, client *grep11.Client, kind tezos.KeyKind) *grep11.Key {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	made, err := client.Generate(ctx, kind, false)
	if err != nil {
		t.Fatal(err)
	}
	key, err := client.Key(made.PublicKey, made.Blob)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newRatchet makes and opens a ratchet in which keys are registered as new.
func newRatchet(t *testing.T, keys ...hsm.Key) (*ratchettest.DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ratchet.db")
	return createRatchet(t, path, keys...), path
}

func createRatchet(t *testing.T, path string, keys ...hsm.Key) *ratchettest.DB {
	t.Helper()
	if err := sqlite.Create(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	db, err := ratchettest.OpenDB(t.Context(), path, ratchettest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for _, key := range keys {
		if err := db.RegisterNew(t.Context(), key.PublicKey().Hash()); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func newSigner(t *testing.T, entries ...signer.Entry) *signer.Signer {
	t.Helper()
	s, err := signer.New(entries, signer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// baker is a signer with one baking key of the kind.
func baker(t *testing.T, kind tezos.KeyKind) (*signer.Signer, *grep11.Key) {
	t.Helper()
	c := newCard(t)
	client := c.dial(t)
	key := c.newKey(t, client, kind)
	db, _ := newRatchet(t, key)
	return newSigner(t, signer.Entry{Policy: policy.Policy{Baking: true}, Ratchet: db.Ratchet, Replicas: []signer.Replica{{Key: key, Server: client}}}), key
}

// vote is an attestation or preattestation of 80 bytes on mainnet; variant
// goes into the payload hash, so that payloads of one slot differ.
func vote(kind tezos.Kind, level, round uint32, variant uint64) []byte {
	tag := map[tezos.Kind]byte{tezos.Preattestation: 0x14, tezos.Attestation: 0x15}[kind]
	p := make([]byte, 80)
	p[0] = byte(kind)
	copy(p[1:], []byte{0x7a, 0x06, 0xa7, 0x70})
	p[37] = tag
	binary.BigEndian.PutUint32(p[40:], level)
	binary.BigEndian.PutUint32(p[44:], round)
	binary.BigEndian.PutUint64(p[48:], variant)
	return p
}

// block is a block header of 198 bytes on mainnet.
func block(level, round uint32, variant uint64) []byte {
	p := make([]byte, 198)
	p[0] = byte(tezos.Block)
	copy(p[1:], []byte{0x7a, 0x06, 0xa7, 0x70})
	binary.BigEndian.PutUint32(p[5:], level)
	p[50] = 4
	binary.BigEndian.PutUint32(p[83:], 33)
	fitness := p[87:]
	copy(fitness, []byte{0, 0, 0, 1, 2, 0, 0, 0, 4})
	binary.BigEndian.PutUint32(fitness[9:], level)
	copy(fitness[13:], []byte{0, 0, 0, 0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 4})
	binary.BigEndian.PutUint32(fitness[29:], round)
	binary.BigEndian.PutUint64(p[120:], variant)
	return p
}

// reveal is an operation that reveals key.
func reveal(key tezos.PublicKey) []byte {
	hash := key.Hash()
	p := append([]byte{0x03}, make([]byte, 32)...)
	p = append(append(p, 0x6b), hash[:]...)
	p = append(p, 1, 1, 1, 0, byte(key.Kind()))
	return append(append(p, key.Bytes()...), 0)
}
