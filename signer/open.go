package signer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"pawl/internal/ep11"
	"pawl/ratchet"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// OpenOptions are what Open needs beside the configuration.
type OpenOptions struct {
	Options
	// OnCommit is told of each commit of a ratchet: how long it took and how
	// many marks it made durable.
	OnCommit func(elapsed time.Duration, marks int)
}

// Open opens what cfg points at (key blobs, certificates, ratchets), takes the
// key locks of this host, and connects to the HSM servers in the background. The
// findings are those of Parse and one for each missing file and bad blob; the
// error is nil unless one of them refuses the start. A key that may bake and is registered
// for no chain refuses it too.
func Open(ctx context.Context, cfg *Config, opts OpenOptions) (*Signer, []Finding, error) {
	o := opener{report: report{findings: slices.Clone(cfg.findings)}, cfg: *cfg, opts: opts}
	o.cfg.Keys = slices.Clone(cfg.Keys)
	o.wrappingID = maps.Clone(cfg.wrappingID)
	o.files()
	if len(o.wrappingID) != len(cfg.wrappingID) { // Parse has not seen those in files
		o.checkWrappingKeys()
	}
	if err := o.worst(Unopenable); err != nil {
		return nil, o.findings, err
	}
	s, err := o.open(ctx)
	if err != nil {
		return nil, o.findings, errors.Join(err, o.undo())
	}
	return s, o.findings, nil
}

// opener holds what is open so far.
type opener struct {
	report
	cfg     Config
	opts    OpenOptions
	paths   []string // of dbs
	dbs     []*ratchet.DB
	locks   []*ratchet.KeyLock
	servers []*grep11.Client
}

// files checks what the configuration points at, without changing anything.
func (o *opener) files() {
	o.certificate("cert_path", o.cfg.HSM.CertPath)
	o.certificate("cacert_path", o.cfg.HSM.CACertPath)
	o.secret("key_path", o.cfg.HSM.KeyPath)
	o.secret("apikey_file", o.cfg.HSM.APIKeyFile)
	for i := range o.cfg.Keys {
		o.blobFile(&o.cfg.Keys[i])
	}
}

// certificate warns of one that ends soon; grep11.Dial judges the rest.
func (o *opener) certificate(name, path string) {
	if path == "" {
		return // Parse has said so
	}
	end, err := certificateEnd(path)
	switch {
	case err != nil:
		o.unopenable(name, "%v", err)
	case time.Until(end) < certificateWarning:
		o.warn(name, "%s: the certificate ends on %s", path, end.Format(time.DateOnly))
	}
}

// secret checks that nobody else may read a private key.
func (o *opener) secret(name, path string) {
	if path == "" {
		return
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		o.unopenable(name, "%v", err)
	case info.Mode().Perm()&0o077 != 0:
		o.unopenable(name, "mode %04o is too open: chmod 600 %s", info.Mode().Perm(), path)
	}
}

func (o *opener) blobFile(key *KeyConfig) {
	if key.BlobFile == "" {
		return
	}
	path := "keys." + key.PublicKey.Hash().String() + ".secret_key_file"
	var err error
	if key.Blob, err = readBlob(key.BlobFile); err != nil {
		o.unopenable(path, "%v", err)
		return
	}
	o.checkBlob(path, key.Blob)
	o.checkNext(strings.TrimSuffix(path, "_file")+"_next", *key)
}

// readBlob reads a file with the hex of one blob.
func readBlob(path string) (ep11.Blob, error) {
	data, err := os.ReadFile(path) //nolint:gosec // keys.json names the file
	if err != nil {
		return nil, err
	}
	return ep11.ParseBlob(string(data))
}

func (o *opener) open(ctx context.Context) (*Signer, error) {
	for _, server := range o.cfg.Servers() {
		client, err := grep11.Dial(server)
		if err != nil {
			return nil, err
		}
		o.servers = append(o.servers, client)
	}
	entries := make([]Entry, 0, len(o.cfg.Keys))
	for _, key := range o.cfg.Keys {
		entry, err := o.entry(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("key %v: %w", key.PublicKey.Hash(), err)
		}
		entries = append(entries, entry)
	}
	if err := o.checkRegistrations(ctx, entries); err != nil {
		return nil, err
	}
	s, err := New(entries, o.opts.Options)
	if err != nil {
		return nil, err
	}
	s.locks = o.locks
	s.config = configFile{path: o.cfg.path, turn: make(chan struct{}, 1), seen: o.cfg.file}
	s.certificates = map[string]string{"cert_path": o.cfg.HSM.CertPath, "cacert_path": o.cfg.HSM.CACertPath}
	return s, nil
}

func (o *opener) entry(ctx context.Context, key KeyConfig) (Entry, error) {
	db, err := o.ratchet(ctx, key.DB) // first: its lock names the other daemon's pid
	if err != nil {
		return Entry{}, err
	}
	lock, err := ratchet.LockKey(key.PublicKey.Hash())
	if err != nil {
		return Entry{}, err
	}
	o.locks = append(o.locks, lock)
	places, err := o.places(key)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Key: places[0].Key, Policy: key.Policy, Ratchet: db, Server: places[0].Server, Others: places[1:]}, nil
}

// places are the key, with both of its blobs, at each server.
func (o *opener) places(key KeyConfig) ([]Place, error) {
	places := make([]Place, 0, len(o.servers))
	for _, server := range o.servers {
		hsmKey, err := server.Key(key.PublicKey, key.Blob)
		if err == nil && key.NextBlob != nil {
			_, err = hsmKey.Offer(key.NextBlob)
		}
		if err != nil {
			return nil, err
		}
		places = append(places, Place{hsmKey, server})
	}
	return places, nil
}

// ratchet opens each file once, whatever paths lead to it.
func (o *opener) ratchet(ctx context.Context, path string) (*ratchet.DB, error) {
	for i, other := range o.paths {
		if sameFile(path, other) {
			return o.dbs[i], nil
		}
	}
	db, err := ratchet.Open(ctx, path, ratchet.Options{MaxLevelGap: o.cfg.MaxLevelGap, OnCommit: o.opts.OnCommit})
	if err != nil {
		return nil, err
	}
	o.paths = append(o.paths, path)
	o.dbs = append(o.dbs, db)
	return db, nil
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return a == b || errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// checkRegistrations refuses keys that may bake and could not: each of their
// requests would be refused, and the operator is not there to see it.
func (o *opener) checkRegistrations(ctx context.Context, entries []Entry) error {
	type place struct {
		db  *ratchet.DB
		key tezos.PublicKeyHash
	}
	registered := make(map[place]bool)
	for _, db := range o.dbs {
		rows, err := db.Registrations(ctx)
		if err != nil {
			return err
		}
		for _, row := range rows {
			registered[place{db, row.Key}] = true
		}
	}
	var missing []string
	for _, e := range entries {
		if hash := e.Key.PublicKey().Hash(); e.Policy.Baking && !registered[place{e.Ratchet, hash}] {
			missing = append(missing, hash.String())
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("registered for no chain: %s: run `pawl ratchet register %s --chain NetX… --from-level N`, with N above the head of the chain",
		strings.Join(missing, ", "), missing[0])
}

// undo closes what is open when the start is refused.
func (o *opener) undo() error {
	var errs []error
	for _, server := range o.servers {
		errs = append(errs, server.Close())
	}
	for _, db := range o.dbs {
		errs = append(errs, db.Close())
	}
	for _, lock := range o.locks {
		errs = append(errs, lock.Close())
	}
	return errors.Join(errs...)
}
