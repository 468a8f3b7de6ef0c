package main

// The one client that a demo signs for: on loopback every local user could ask otherwise.

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"

	"blockwatch.cc/tzgo/base58"

	"pawl/internal/durable"
	"pawl/server"
	"pawl/tezos"
)

// demoClient is the file with the secret key of the client, as octez-client imports it.
const demoClient = "octez-client.key"

const (
	unencrypted = "unencrypted:"     // Octez, src/lib_signer_backends/unencrypted.ml
	edskPrefix  = "\x0d\x0f\x3a\x07" // of an Ed25519 seed (src/lib_crypto/base58.ml)
	// maxDemoClient is more than the file has: 66 bytes.
	maxDemoClient = 1 << 10
)

// newDemoClient makes the key of the client and returns its public key.
func newDemoClient(dir string) (tezos.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return tezos.PublicKey{}, err
	}
	text := unencrypted + base58.CheckEncode(private.Seed(), []byte(edskPrefix)) + "\n"
	if err := durable.WriteNew(filepath.Join(dir, demoClient), []byte(text), 0o600); err != nil {
		return tezos.PublicKey{}, err
	}
	return tezos.NewPublicKey(tezos.Ed25519, public)
}

// readDemoClient reads the key of the client, nil if the folder was made without one.
func readDemoClient(dir string) (ed25519.PrivateKey, error) {
	text, err := durable.ReadPrivate(filepath.Join(dir, demoClient), maxDemoClient)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer clear(text)
	key, err := tezos.ParseSecretKey(text, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", demoClient, err)
	}
	defer key.Zero()
	return ed25519.NewKeyFromSeed(key.Bytes()), nil
}

// tellClient says how the client gets its key, and prints commands that sign something.
func (c *demoCmd) tellClient(s *streams, addr net.Addr, key tezos.PublicKeyHash) error {
	client, err := readDemoClient(c.Dir)
	if err != nil {
		return fmt.Errorf("--dir %s: %w", c.Dir, err)
	}
	if client != nil {
		s.notef("only one client may ask for signatures. Give octez-client its key: "+
			`octez-client import secret key demo-client "$(cat %s)"`, filepath.Join(c.Dir, demoClient))
	}
	for variant, what := range []string{"to sign something", "to ask for other bytes of the same slot"} {
		payload := demoPayload(byte(variant))
		url := fmt.Sprintf("http://%v/keys/%v", addr, key)
		if client != nil {
			authentication, err := authenticate(client, key, payload)
			if err != nil {
				return err
			}
			url = fmt.Sprintf("'%s?authentication=%v'", url, authentication)
		}
		s.notef("%s: curl -d '\"%s\"' %s", what, hex.EncodeToString(payload), url)
	}
	return nil
}

// authenticate signs a sign request as octez-client does.
func authenticate(client ed25519.PrivateKey, key tezos.PublicKeyHash, payload []byte) (tezos.Signature, error) {
	digest := server.AuthenticationMessage(key, payload).Digest()
	return tezos.NewSignature(tezos.Ed25519, ed25519.Sign(client, digest[:]))
}
