package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"pawl/internal/durable"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/signer/grep11"
	"pawl/softcard"
	"pawl/tezos"
)

// The files of a demo's folder beside those of its card.
const (
	demoConfig  = "keys.json"
	demoRatchet = "ratchet.db"
	demoWitness = "witness"
)

// openFolder makes the folder of a demo if it does not exist.
func openFolder(ctx context.Context, s *streams, dir, cardAddress string) error {
	_, err := os.Stat(filepath.Join(dir, demoConfig))
	switch {
	case err == nil:
		s.notef("using %s", dir)
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("--dir %s: %w", dir, withoutPath(err))
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("--dir %s: is there, but no folder of a demo: it has no %s", dir, demoConfig),
			"name a folder that does not exist")
	}
	if err := makeFolder(ctx, dir, cardAddress); err != nil {
		return fmt.Errorf("--dir %s: %w", dir, withoutPath(err))
	}
	s.notef("made %s: a software card, a tz1, a tz2 and a tz3 key, and their ratchet", dir)
	return nil
}

// withoutPath returns the cause of an error of a path, where the path is named before it.
func withoutPath(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	return err
}

// makeFolder makes the folder whole or not at all: under another name first, renamed when it
// is complete.
func makeFolder(ctx context.Context, dir, cardAddress string) error {
	temp := filepath.Clean(dir) + ".new"
	claim, err := claimFolder(temp)
	if err != nil {
		return err
	}
	defer claim.Close() //nolint:errcheck // only held
	if err = fillFolder(ctx, temp, cardAddress); err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, dir, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	return durable.Sync(filepath.Dir(filepath.Clean(dir)))
}

// claimFolder makes an empty folder that is ours while the file is open. It removes what an
// interrupted run left there.
func claimFolder(path string) (claim *os.File, err error) {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	claim, err = os.Open(path) //nolint:gosec // beside the folder that the operator named
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(claim.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		err = fmt.Errorf("another pawl demo is making it: %w", err)
	} else {
		err = emptyFolder(path)
	}
	if err != nil {
		return nil, errors.Join(err, claim.Close())
	}
	return claim, nil
}

func emptyFolder(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(path, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// fillFolder makes the card, its keys, their ratchet, the key of the client and keys.json in dir.
func fillFolder(ctx context.Context, dir, cardAddress string) error {
	if _, err := softcard.Dir(dir).Init(); err != nil {
		return err
	}
	keys, err := demoKeys(ctx, dir)
	if err != nil {
		return err
	}
	if err := registerNew(ctx, filepath.Join(dir, demoRatchet), filepath.Join(dir, demoWitness), keys); err != nil {
		return err
	}
	client, err := newDemoClient(dir)
	if err != nil {
		return err
	}
	config, err := demoKeysJSON(cardAddress, client, keys)
	if err != nil {
		return err
	}
	return durable.WriteNew(filepath.Join(dir, demoConfig), config, 0o600)
}

// demoKeys has the card make the keys, running it only for that time.
func demoKeys(ctx context.Context, dir string) (keys []grep11.Generated, err error) {
	card, err := softcard.Open(softcard.Dir(dir))
	if err != nil {
		return nil, err
	}
	ln, err := listen(ctx, "the card while the keys are made:", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- card.Serve(ctx, ln, softcard.Dir(dir), false) }()
	defer func() {
		stop()
		err = errors.Join(err, <-stopped)
	}()
	server := grep11.Config{
		Address:    ln.Addr().String(),
		CertPath:   filepath.Join(dir, "client.pem"),
		KeyPath:    filepath.Join(dir, "client-key.pem"),
		CACertPath: filepath.Join(dir, "ca.pem"),
	}
	for _, kind := range []tezos.KeyKind{tezos.Ed25519, tezos.Secp256k1, tezos.P256} {
		key, err := newKey(ctx, []grep11.Config{server}, kind, false)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// registerNew makes a ratchet in which these new keys may sign on any chain.
func registerNew(ctx context.Context, path, witness string, keys []grep11.Generated) (err error) {
	if err := sqlite.Create(ctx, path); err != nil {
		return err
	}
	if _, err := sqlite.WitnessFolder(witness); err != nil {
		return err
	}
	db, err := sqlite.Open(ctx, path, sqlite.Options{Witness: witness})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, key := range keys {
		if _, err := db.Change(ctx, ratchet.Registering(ratchet.Registration{Key: key.PublicKey.Hash(), AnyChain: true})); err != nil {
			return err
		}
	}
	return nil
}

// demoKeysJSON is the keys.json of a demo. The card's certificate names loopback, so url does
// too, whatever the card's address.
func demoKeysJSON(cardAddress string, client tezos.PublicKey, keys []grep11.Generated) ([]byte, error) {
	type entry struct {
		PublicKey string `json:"public_key"`
		SecretKey string `json:"secret_key"`
	}
	entries := make(map[string]entry)
	for _, key := range keys {
		entries[key.PublicKey.Hash().String()] = entry{key.PublicKey.String(), key.Blob.Hex()}
	}
	type policy struct {
		Baking     bool     `json:"baking"`
		Operations []string `json:"operations"`
	}
	file, err := json.MarshalIndent(struct {
		URL        string           `json:"url"`
		ServerName string           `json:"server_name"`
		CertPath   string           `json:"cert_path"`
		KeyPath    string           `json:"key_path"`
		CACertPath string           `json:"cacert_path"`
		DB         string           `json:"db"`
		Witness    string           `json:"witness"`
		Authorized []string         `json:"authorized_keys"`
		Policy     policy           `json:"policy"`
		Keys       map[string]entry `json:"keys"`
	}{
		cardAddress, "localhost", "client.pem", "client-key.pem", "ca.pem", demoRatchet, demoWitness,
		[]string{client.String()},
		policy{Baking: true, Operations: []string{}},
		entries,
	}, "", "    ")
	return append(file, '\n'), err
}
