package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"pawl/internal/audit"
	"pawl/internal/config"
	"pawl/internal/node"
	"pawl/ratchet"
	"pawl/ratchet/sqlite"
	"pawl/tezos"
)

// openStore opens a ratchet for a command, with the witness of the keys.json at configPath, if that can
// be read.
func openStore(ctx context.Context, configPath, path string) (*sqlite.Store, error) {
	named := ""
	if cfg, _, err := config.Load(configPath); err == nil {
		named = cfg.Witness
	}
	folder, err := sqlite.WitnessFolder(named)
	if err != nil {
		folder = "" // the next start of the daemon tells
	}
	store, err := sqlite.Open(ctx, path, sqlite.Options{Witness: folder, Command: true})
	if err != nil {
		return nil, err
	}
	if found := store.Finding(); found.Verdict > sqlite.Unwitnessed { // it has fenced keys
		fenced := audit.Event{Name: audit.Fence, Reason: found.Verdict.String(), Detail: found.Text}
		_ = recordEvents(path, fenced) // show and check tell of the fences too
	}
	return store, nil
}

// recordEvents adds to the audit trail of a ratchet that this process has open.
func recordEvents(path string, events ...audit.Event) error {
	trail, err := audit.Open(path, audit.Options{})
	if err != nil {
		return err
	}
	for _, e := range events {
		trail.Add(e)
	}
	return trail.Close()
}

// recordChanges adds what a command has changed.
func recordChanges(path string, name audit.Name, done ratchet.Changes) error {
	if done.Empty() {
		return nil
	}
	if err := recordEvents(path, audit.Of(name, done)...); err != nil {
		return fmt.Errorf("%s is changed, and the audit trail does not tell: %w", path, err)
	}
	return nil
}

// changeRatchet opens a ratchet, has plan change it, and closes it.
func changeRatchet(
	ctx context.Context, configPath, path string, name audit.Name, plan ratchet.Plan,
) (done ratchet.Changes, err error) {
	store, err := openStore(ctx, configPath, path)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if done, err = store.Change(ctx, plan); err != nil {
		return done, err
	}
	return done, recordChanges(path, name, done)
}

// ratchetKey names a key of a ratchet.
type ratchetKey struct {
	Key    string `arg:"" name:"pkh" help:"Hash of the key: tz1…, tz2… or tz3…."`
	Config string `default:"./keys.json" placeholder:"FILE" help:"keys.json that names the ratchet of the key (default: ${default})."`
	DB     string `name:"db" placeholder:"PATH" help:"Ratchet file, instead of that of keys.json."`
}

// hash parses the key.
func (k *ratchetKey) hash() (tezos.PublicKeyHash, error) {
	key, err := tezos.ParsePublicKeyHash(k.Key)
	if err != nil {
		return key, &usageError{text: fmt.Sprintf("%q: %v", k.Key, err)}
	}
	return key, nil
}

// ratchet returns the ratchet of the key and the level gap.
func (k *ratchetKey) ratchet(key tezos.PublicKeyHash) (path string, gap int32, err error) {
	cfg, err := loadConfig(k.Config)
	if k.DB != "" {
		if err == nil {
			gap = cfg.MaxLevelGap
		}
		return k.DB, cmp.Or(gap, ratchet.DefaultMaxLevelGap), nil
	}
	if err != nil {
		return "", 0, err
	}
	entry := findKey(cfg, key)
	switch {
	case entry == nil:
		return "", 0, withHint(fmt.Errorf("%s has no key %v", k.Config, key),
			"add the key first, or name the ratchet with --db")
	case entry.DB == "":
		return "", 0, fmt.Errorf("%s names no ratchet for %v", k.Config, key)
	}
	return entry.DB, cmp.Or(cfg.MaxLevelGap, ratchet.DefaultMaxLevelGap), nil
}

// chainOf parses the value of --chain.
func chainOf(text string) (tezos.ChainID, error) {
	chain, err := tezos.ParseChain(text)
	if err != nil {
		return chain, &usageError{text: fmt.Sprintf("--chain %q: %v", text, err)}
	}
	return chain, nil
}

// nodeHead returns the head of the node that the keys.json names; ok is false if there is none, or no answer.
func nodeHead(ctx context.Context, configPath string) (head node.Head, ok bool) {
	cfg, _, err := config.Load(configPath)
	if err != nil || cfg.NodeURL == "" {
		return head, false
	}
	client, err := node.New(cfg.NodeURL)
	if err != nil {
		return head, false
	}
	head, err = client.Head(ctx)
	return head, err == nil
}

// wantLevel is the error for a level that is left out, with one to take if a node tells the head.
func wantLevel(ctx context.Context, configPath, flag string, above int32) error {
	err := &usageError{text: flag + " is missing: name a level above all that was ever signed with the key"}
	if head, ok := nodeHead(ctx, configPath); ok {
		err.text += fmt.Sprintf("; the head of %v is %d now: %s %d", head.ChainID, head.Level, flag, head.Level+above)
	}
	return err
}
