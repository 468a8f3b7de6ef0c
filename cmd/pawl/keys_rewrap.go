package main

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pawl/internal/config"
	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/tezos"
)

type keysRewrapCmd struct {
	Config  string `default:"./keys.json" placeholder:"FILE" help:"Keys and the GREP11 servers (default: ${default})."`
	Promote bool   `help:"After the new master key is finalised: make the new blobs the only ones."`
}

func (*keysRewrapCmd) Help() string {
	return helpText("When the HSM's master key changes: load and commit the new one in the HSM, run pawl keys "+
		"rewrap, finalise the new one in the HSM, run pawl keys rewrap --promote. Until then the new blobs stand in "+
		"keys.json as secret_key_next. pawl serve loads them without a restart, says so in its log, and goes on signing "+
		"when the new master key is finalised.\n\nAll servers of url are asked: each must be about to take the same new "+
		"master key, and for --promote each must sign with the new blobs. keys.json changes for all keys or for none. "+
		"It is safe to run it again. Seeds are not rewrapped.",
		"pawl keys rewrap --config keys.json", exitCodes)
}

// rotatingKey is a key of keys.json; its Next is secret_key_next, or nil.
type rotatingKey struct {
	config.Rotation
	public tezos.PublicKey
	file   string // secret_key_file, or ""
}

// Run rewraps the keys, or promotes their new blobs.
func (c *keysRewrapCmd) Run(ctx context.Context, s *streams) error {
	return hintInLine(c.run(ctx, s))
}

func (c *keysRewrapCmd) run(ctx context.Context, s *streams) error {
	keys, err := rotatingKeys(c.Config)
	if err != nil {
		return err
	}
	servers, err := connectionOf(c.Config)
	if err != nil {
		return err
	}
	clients, err := dialAll(servers)
	if err != nil {
		return err
	}
	defer closeAll(clients)
	if c.Promote {
		return c.promote(ctx, s, clients, keys)
	}
	return c.rewrap(ctx, s, clients, keys)
}

// rotatingKeys reads the keys of a keys.json. It must have some, and every blob must be
// readable.
func rotatingKeys(path string) ([]rotatingKey, error) {
	cfg, findings, err := loadFindings(path)
	if err != nil {
		return nil, err
	}
	if len(cfg.Keys) == 0 {
		return nil, fmt.Errorf("%s has no keys", path)
	}
	unreadable := unreadableBlobs(findings)
	keys := make([]rotatingKey, len(cfg.Keys))
	for i, key := range cfg.Keys {
		keys[i] = rotatingKey{
			Rotation: config.Rotation{Key: key.PublicKey.Hash(), Blob: key.Blob, Next: key.NextBlob},
			public:   key.PublicKey,
			file:     key.BlobFile,
		}
		if key.BlobFile == "" {
			continue
		}
		if keys[i].Blob, err = ep11.ReadBlob(key.BlobFile); err != nil {
			unreadable = append(unreadable, unreadableFile(keys[i].Key, err))
		}
	}
	if len(unreadable) > 0 {
		return nil, &findingsError{file: path, findings: unreadable}
	}
	return keys, nil
}

// rewrap has a server rewrap each blob, and writes the new ones when it has all. One that
// is there already under the same new master key stays.
func (c *keysRewrapCmd) rewrap(ctx context.Context, s *streams, clients []*grep11.Client, keys []rotatingKey) error {
	client, next, err := rewrapper(ctx, s, clients, keys[0])
	if err != nil {
		return err
	}
	var changed []config.Rotation
	newID := wrappingKey(next)
	t := table{out: s.out}
	for i, key := range keys {
		if i > 0 { // the first has been
			if next, err = key.rewrap(ctx, client); err != nil {
				return err
			}
		}
		if id := wrappingKey(next); id != newID {
			return fmt.Errorf("rewrapping %v: under the master key %s, but %v under %s: the servers are not of one HSM domain",
				key.Key, id, keys[0].Key, newID)
		}
		what := "rewrapped"
		if key.Next != nil && wrappingKey(key.Next) == newID && grep11.CheckRewrapped(key.Blob, key.Next) == nil {
			what = "is rewrapped already"
		} else {
			changed = append(changed, config.Rotation{Key: key.Key, Blob: key.Blob, Next: next})
		}
		t.cells(key.Key.String(), wrappingKey(key.Blob), "to "+newID, what)
	}
	if len(changed) > 0 {
		if err := config.AddNextBlobs(c.Config, changed); err != nil {
			return fmt.Errorf("keeping the new blobs: %w", err)
		}
	}
	s.notef("note: next, when daemons with a copy of %s have the new one: finalise the new master key in the HSM, "+
		"then run pawl keys rewrap --promote", c.Config)
	return t.flush()
}

// rewrap has a server rewrap the key, in two tries.
func (k *rotatingKey) rewrap(ctx context.Context, client *grep11.Client) (next ep11.Blob, err error) {
	err = twice(ctx, func() error {
		next, err = client.Rewrap(ctx, k.Blob)
		return err
	})
	if err == nil {
		return next, nil
	}
	err = fmt.Errorf("rewrapping %v at %s: %w", k.Key, client.Address(), err)
	if noNewMasterKey(err) && grep11.RefusesBlob(k.try(ctx, client, k.Blob)) {
		return nil, tooLate(err, k.Next != nil)
	}
	return nil, rewrapHint(err, k.Next != nil)
}

// noNewMasterKey reports whether the server has no committed master key to rewrap for.
func noNewMasterKey(err error) bool {
	refusal, ok := errors.AsType[*grep11.Error](err)
	return ok && refusal.Code == ep11.CodeIBMWKNotInitialized
}

// tooLate adds the remedy for a key whose blob is not of the server's master key, where no other
// is on its way.
func tooLate(err error, hasNext bool) error {
	if hasNext {
		return withHint(err, "the new master key is finalised already: run pawl keys rewrap --promote")
	}
	return withHint(err, "this blob is not of the HSM's master key, and no other one is committed: if that was finalised "+
		"before the key was rewrapped, have the master key before it loaded, committed and finalised again, and begin anew; "+
		"else the blob is of another HSM")
}

// wrappingKey is the id of a blob's master key in hex. The blob has been read, so it has
// one.
func wrappingKey(blob ep11.Blob) string {
	header, err := blob.Header()
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%x", header.WrappingKeyID)
}

// cannotRewrap reports whether the server has no such call; servers say so in two ways.
func cannotRewrap(err error) bool {
	refusal, ok := errors.AsType[*grep11.Error](err)
	return ok && refusal.Code == ep11.CodeFunctionNotSupported || !ok && status.Code(err) == codes.Unimplemented
}

// rewrapHint adds the remedy if a server did not rewrap a key.
func rewrapHint(err error, hasNext bool) error {
	const promote = "if the new master key is finalised already, run pawl keys rewrap --promote"
	early := noNewMasterKey(err)
	switch {
	case cannotRewrap(err):
		return withHint(err, "this GREP11 server has no RewrapKeyBlob: update it, or name another server of its HSM "+
			"domain in url")
	case early && hasNext:
		return withHint(err, "load and commit a new master key in the HSM first; %s", promote)
	case early:
		return withHint(err, "load and commit a new master key in the HSM first")
	case grep11.RefusesBlob(err) && hasNext:
		return withHint(err, "%s; else this blob is of another HSM", promote)
	case grep11.RefusesBlob(err):
		return withHint(err, "this blob is broken or of another HSM: correct or remove its entry")
	case grep11.Transient(err):
		return withHint(err, seeToTheServer)
	}
	return err
}
