package main

import (
	"context"
	"errors"
	"fmt"

	"pawl/signer"
	"pawl/signer/grep11"
	"pawl/tezos"
)

type keysRewrapCmd struct {
	Config  string `default:"./keys.json" placeholder:"FILE" help:"Keys and the GREP11 servers (default: ${default})."`
	Promote bool   `help:"After the new master key is finalised: make the new blobs the only ones."`
}

func (*keysRewrapCmd) Help() string {
	return "When the HSM's master key is changed: load and commit the new one in the HSM, run pawl keys rewrap, finalise the new one in the " +
		"HSM, run pawl keys rewrap --promote. The new blobs stand in keys.json as secret_key_next until then; pawl serve takes them up without a " +
		"restart, says so in its log, and goes on signing when the new master key is finalised.\n\n" +
		"keys.json changes for all keys or for none. To run it again is safe."
}

// rotatingKey is a key of keys.json; its Next is secret_key_next, or nil.
type rotatingKey struct {
	signer.Rotation
	public tezos.PublicKey
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
	client, err := dialFirst(ctx, servers)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // nothing is under way
	if c.Promote {
		return c.promote(ctx, s, client, keys)
	}
	return c.rewrap(ctx, s, client, keys)
}

// rotatingKeys reads the keys of a keys.json, which has to have some and no blob that
// cannot be read.
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
		keys[i] = rotatingKey{signer.Rotation{Key: key.PublicKey.Hash(), Blob: key.Blob, Next: key.NextBlob}, key.PublicKey}
		if key.BlobFile == "" {
			continue
		}
		if keys[i].Blob, err = readBlobFile(key.BlobFile); err != nil {
			unreadable = append(unreadable, unreadableFile(keys[i].Key, err))
		}
	}
	if len(unreadable) > 0 {
		return nil, &findingsError{file: path, findings: unreadable}
	}
	return keys, nil
}

// rewrap has the HSM rewrap each blob, and writes the new ones when it has all. One that
// is there already under the same new master key stays.
func (c *keysRewrapCmd) rewrap(ctx context.Context, s *streams, client *grep11.Client, keys []rotatingKey) error {
	var changed []signer.Rotation
	var newID string
	t := table{out: s.out}
	for _, key := range keys {
		next, err := client.Rewrap(ctx, key.Blob)
		if err != nil {
			return rewrapHint(fmt.Errorf("rewrapping %v: %w", key.Key, err), key.Next != nil)
		}
		id := wrappingKey(next)
		if newID == "" {
			newID = id
		}
		if id != newID {
			return fmt.Errorf("rewrapping %v: under the master key %s, but %v under %s: the servers are not of one HSM domain", key.Key, id, keys[0].Key, newID)
		}
		what := "rewrapped"
		if key.Next != nil && wrappingKey(key.Next) == id && grep11.CheckRewrapped(key.Blob, key.Next) == nil {
			what = "is rewrapped already"
		} else {
			changed = append(changed, signer.Rotation{Key: key.Key, Blob: key.Blob, Next: next})
		}
		t.cells(key.Key.String(), wrappingKey(key.Blob), "to "+id, what)
	}
	if len(changed) > 0 {
		if err := signer.AddNextBlobs(c.Config, changed); err != nil {
			return fmt.Errorf("keeping the new blobs: %w", err)
		}
	}
	s.notef("note: next, when daemons with a copy of %s have the new one: finalise the new master key in the HSM, then run pawl keys rewrap --promote", c.Config)
	return t.flush()
}

// wrappingKey is the id of a blob's master key in hex. The blob has been read, so it has
// one.
func wrappingKey(blob grep11.Blob) string {
	header, err := blob.Header()
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%x", header.WrappingKeyID)
}

// rewrapHint adds what is to be done about a refusal to rewrap.
func rewrapHint(err error, hasNext bool) error {
	const promote = "if the new master key is finalised already, run pawl keys rewrap --promote"
	refusal, ok := errors.AsType[*grep11.Error](err)
	switch {
	case !ok:
		return err
	case refusal.Code == grep11.CodeFunctionNotSupported:
		return withHint(err, "the GREP11 server has to offer RewrapKeyBlob")
	case refusal.Code == grep11.CodeIBMWKNotInitialized && hasNext:
		return withHint(err, "load and commit a new master key in the HSM first; %s", promote)
	case refusal.Code == grep11.CodeIBMWKNotInitialized:
		return withHint(err, "load and commit a new master key in the HSM first")
	case grep11.RefusesBlob(err) && hasNext:
		return withHint(err, "%s; else this blob is of another HSM", promote)
	case grep11.RefusesBlob(err):
		return withHint(err, "this blob is broken or of another HSM: correct or remove its entry")
	}
	return err
}

// promote writes when the HSM has signed with the next blob of each key that has one.
func (c *keysRewrapCmd) promote(ctx context.Context, s *streams, client *grep11.Client, keys []rotatingKey) error {
	var promoted []signer.Rotation
	t := table{out: s.out}
	for _, key := range keys {
		if key.Next == nil {
			continue
		}
		if err := key.tryNext(ctx, client); err != nil {
			return err
		}
		promoted = append(promoted, key.Rotation)
		t.cells(key.Key.String(), wrappingKey(key.Next), "signs and is promoted")
	}
	if len(promoted) == 0 {
		s.notef("note: no key of %s has a secret_key_next: there is nothing to promote", c.Config)
		return nil
	}
	if err := signer.PromoteBlobs(c.Config, promoted); err != nil {
		return fmt.Errorf("promoting the new blobs: %w", err)
	}
	s.notef("note: back up the new blobs; those before are of no use any more")
	for _, key := range keys {
		if key.Next != nil {
			continue
		}
		if err := key.try(ctx, client, key.Blob); err != nil {
			s.notef("warning: %v had no secret_key_next and does not sign: %v", key.Key, err)
		}
	}
	return t.flush()
}

// tryNext is nil when the HSM signs with the next blob. When it refuses that one, the
// error says whether it still wants the one before.
func (k *rotatingKey) tryNext(ctx context.Context, client *grep11.Client) error {
	err := k.try(ctx, client, k.Next)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("trying the new blob of %v: %w", k.Key, err)
	if !grep11.RefusesBlob(err) {
		return err
	}
	switch before := k.try(ctx, client, k.Blob); {
	case before == nil:
		return withHint(err, "the HSM still wants the blob before: finalise the new master key in the HSM first")
	case grep11.RefusesBlob(before):
		return withHint(err, "the HSM takes neither blob of this key: it has a third master key")
	default:
		return err
	}
}

// try has the HSM sign a random digest with one blob of the key.
func (k *rotatingKey) try(ctx context.Context, client *grep11.Client, blob grep11.Blob) error {
	return tryKey(ctx, client, grep11.Generated{PublicKey: k.public, Blob: blob})
}
