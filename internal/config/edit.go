package config

// This file adds keys and changes addresses in a keys.json, without touching the rest of it.

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"pawl/internal/durable"
	"pawl/internal/ep11"
	"pawl/tezos"
)

// AddKey adds an entry for a key to the keys.json at path, and leaves every other byte
// as it is. It replaces the file durably, whole or not at all. It fails if the key is
// already there.
func AddKey(path string, pk tezos.PublicKey, blob ep11.Blob) error {
	return edit(path, func(data []byte, root value) ([]byte, error) {
		keys, ok := root.get("keys")
		if !ok || !keys.object {
			return nil, errors.New("has no object keys to add to")
		}
		hash := pk.Hash().String()
		if _, double := keys.get(hash); double {
			return nil, fmt.Errorf("already has the key %s", hash)
		}
		entry, err := keyEntry(hash, pk.String(), blob.Hex())
		if err != nil {
			return nil, err
		}
		if n := len(keys.members); n > 0 {
			return splice(data, keys.members[n-1].value.end, keys.members[n-1].value.end, ","+entry), nil
		}
		return splice(data, keys.start+1, keys.start+1, entry), nil
	})
}

// keyEntry returns the text of an entry of keys, for a file indented by four blanks.
func keyEntry(hash, public, blob string) (string, error) {
	entry, err := json.MarshalIndent(struct {
		PublicKey string `json:"public_key"`
		SecretKey string `json:"secret_key"`
	}{public, blob}, "        ", "    ")
	return fmt.Sprintf("\n        %q: %s", hash, entry), err
}

// SetURL sets url in the keys.json at path, and leaves every other byte as it is. It
// replaces the file durably, whole or not at all, and only if it changes.
func SetURL(path, url string) error {
	return edit(path, func(data []byte, root value) ([]byte, error) {
		old, ok := root.get("url")
		switch {
		case !ok:
			return nil, errors.New("has no url to set")
		case old.scalar == url:
			return data, nil
		}
		text, err := json.Marshal(url)
		return splice(data, old.start, old.end, string(text)), err
	})
}

// splice returns data with data[from:to] replaced.
func splice(data []byte, from, to int64, text string) []byte {
	return append(append(append([]byte(nil), data[:from]...), text...), data[to:]...)
}

// edit replaces the file at path with what change returns. It writes nothing if that is the
// same or is not a valid keys.json. A second command waits until the first is done.
func edit(path string, change func(data []byte, root value) ([]byte, error)) error {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	unlock, err := durable.LockFolder(filepath.Dir(target)) // not the file, which is replaced
	if err != nil {
		return err
	}
	defer unlock()
	data, _, err := durable.ReadFile(path, MaxConfigSize)
	if err != nil {
		return err
	}
	root, err := parseJSON(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	changed, err := change(data, root)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if string(changed) == string(data) {
		return nil
	}
	if _, _, err := Parse(changed, filepath.Dir(path)); err != nil {
		return err
	}
	return durable.Replace(path, changed)
}
