package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pawl/internal/config"
	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// promote writes the next blobs once every server has signed with each of them.
func (c *keysRewrapCmd) promote(ctx context.Context, s *streams, clients []*grep11.Client, keys []rotatingKey) error {
	next := slices.DeleteFunc(slices.Clone(keys), func(k rotatingKey) bool { return k.Next == nil })
	if len(next) == 0 {
		s.notef("note: no key of %s has a secret_key_next: there is nothing to promote", c.Config)
		return nil
	}
	if err := inOneLine(atEach(clients, func(client *grep11.Client) error {
		return tryNext(ctx, client, next, keys)
	})); err != nil {
		return err
	}
	t := table{out: s.out}
	promoted := make([]config.Rotation, len(next))
	for i, key := range next {
		promoted[i] = key.Rotation
		t.cells(key.Key.String(), wrappingKey(key.Next), "signs and is promoted")
	}
	if err := config.PromoteBlobs(c.Config, promoted); err != nil {
		return fmt.Errorf("promoting the new blobs: %w", err)
	}
	s.notef("note: back up %s: what held the blobs before is of no use any more", strings.Join(c.holders(next), ", "))
	for _, file := range c.stale(next) {
		s.notef("warning: %s still holds a blob of the master key before: remove it, and see that no backup is made of it",
			file)
	}
	for _, key := range keys {
		if key.Next != nil {
			continue
		}
		if err := key.try(ctx, clients[0], key.Blob); err != nil {
			s.notef("warning: %v had no secret_key_next and does not sign: %v", key.Key, err)
		}
	}
	return t.flush()
}

// holders are the files that hold the new blobs.
func (c *keysRewrapCmd) holders(keys []rotatingKey) []string {
	files := []string{c.Config}
	for _, key := range keys {
		if key.file != "" {
			files = append(files, key.file)
		}
	}
	return files
}

// stale are the files beside keys.json, or in the working folder, in which createtezoskey and its
// like kept the old blob of a key, and which keys.json does not name.
func (c *keysRewrapCmd) stale(keys []rotatingKey) (files []string) {
	dirs := []string{filepath.Dir(c.Config)}
	if here, err := filepath.Abs("."); err == nil && !sameFolder(here, dirs[0]) {
		dirs = append(dirs, here)
	}
	for _, key := range keys {
		for _, dir := range dirs {
			file := blobFile(dir, key.Key)
			if old, err := ep11.ReadBlob(file); err == nil && !bytes.Equal(old, key.Next) {
				files = append(files, file)
			}
		}
	}
	return files
}

func sameFolder(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// tryNext returns nil if a server signs with the next blob of each key; all are those of keys.json.
func tryNext(ctx context.Context, client *grep11.Client, keys, all []rotatingKey) error {
	for _, key := range keys {
		if err := key.tryNext(ctx, client, all); err != nil {
			return err
		}
	}
	return nil
}

// tryNext returns nil if a server signs with the next blob. When it refuses that one, the error says
// whether it still wants the one before. When the blob is that of another key, the error says whose.
func (k *rotatingKey) tryNext(ctx context.Context, client *grep11.Client, all []rotatingKey) error {
	err := k.try(ctx, client, k.Next)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("trying the new blob of %v at %s: %w", k.Key, client.Address(), err)
	switch {
	case !grep11.RefusesBlob(err) && grep11.Transient(err):
		return withHint(err, seeToTheServer)
	case !grep11.RefusesBlob(err):
		return k.exchanged(ctx, client, err, all)
	}
	switch before := k.try(ctx, client, k.Blob); {
	case before == nil:
		return withHint(err, "nothing was changed: finalise the new master key in the HSM first")
	case grep11.RefusesBlob(before):
		return withHint(err, "the HSM accepts neither blob of this key: it has a third master key")
	default:
		return err
	}
}

// exchanged adds to err whose the next blob is, if it is that of another key of keys.json.
func (k *rotatingKey) exchanged(ctx context.Context, client *grep11.Client, err error, all []rotatingKey) error {
	publics := make([]tezos.PublicKey, len(all))
	for i, key := range all {
		publics[i] = key.public
	}
	owner, found := client.Owner(ctx, k.Next, publics)
	if !found {
		return err
	}
	return withHint(err, "nothing was changed: this secret_key_next is that of %v: give each key its own", owner.Hash())
}
