package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"pawl/internal/durable"
	"pawl/internal/ep11"
	"pawl/tezos"
)

// Rotation is one key on its way from one master key of the HSM to the next.
type Rotation struct {
	Key  tezos.PublicKeyHash
	Blob ep11.Blob // under the old master key: secret_key, or the content of secret_key_file
	Next ep11.Blob // the same private key under the next master key
}

// AddNextBlobs sets secret_key_next of each key in the keys.json at path, beside its
// secret_key or secret_key_file, and changes no other byte. It replaces the file in one
// step, durably, and only if it changes. It refuses if a key is gone or has another blob by
// now.
func AddNextBlobs(path string, keys []Rotation) error {
	return editKeys(path, keys, func(data []byte, key *KeySpec, entry value, r Rotation) ([]change, error) {
		blob, err := key.current()
		switch {
		case err != nil:
			return nil, err
		case !bytes.Equal(blob, r.Blob):
			return nil, errChangedMeanwhile
		}
		text := `"` + r.Next.Hex() + `"`
		if old, ok := entry.get("secret_key_next"); ok {
			return []change{{old.start, old.end, text}}, nil
		}
		at := entry.index("secret_key", "secret_key_file")
		end := entry.members[at].value.end
		return []change{{end, end, "," + entry.indent(data, at) + `"secret_key_next": ` + text}}, nil
	})
}

// PromoteBlobs makes the next blob of each key its only one, in the keys.json at path or in
// the file that secret_key_file names, and drops the old blob. It refuses, and writes
// nothing, if a key is gone or its secret_key_next has changed. It replaces each file in
// one step, durably, keys.json last: if it is cut off, no key has lost its next blob, and a
// second run completes it.
func PromoteBlobs(path string, keys []Rotation) error {
	files := make(map[string]ep11.Blob)
	drop := func(data []byte, key *KeySpec, entry value, r Rotation) ([]change, error) {
		if !bytes.Equal(key.NextBlob, r.Next) {
			return nil, errChangedMeanwhile
		}
		changes := []change{entry.without(data, entry.index("secret_key_next"))}
		if key.BlobFile != "" {
			files[key.BlobFile] = r.Next
			return changes, nil
		}
		old, _ := entry.get("secret_key") // it is there, or Parse would have failed
		return append(changes, change{old.start, old.end, `"` + r.Next.Hex() + `"`}), nil
	}
	return edit(path, func(data []byte, root value) ([]byte, error) {
		changed, err := changeKeys(path, data, root, keys, drop)
		if err != nil {
			return nil, err
		}
		for file, blob := range files {
			if err := durable.Replace(file, []byte(blob.Hex())); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
		return changed, nil
	})
}

var errChangedMeanwhile = errors.New("has another blob by now: run the command again")

// change replaces the bytes from:to of a file.
type change struct {
	from, to int64
	text     string
}

// keyEdit returns the changes to the entry of a key.
type keyEdit func(data []byte, key *KeySpec, entry value, r Rotation) ([]change, error)

func editKeys(path string, keys []Rotation, how keyEdit) error {
	return edit(path, func(data []byte, root value) ([]byte, error) {
		return changeKeys(path, data, root, keys, how)
	})
}

// changeKeys edits the entries of all keys, or of none.
func changeKeys(path string, data []byte, root value, keys []Rotation, how keyEdit) ([]byte, error) {
	cfg, _, err := read(data, filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	configured := make(map[tezos.PublicKeyHash]*KeySpec, len(cfg.Keys))
	for i := range cfg.Keys {
		configured[cfg.Keys[i].PublicKey.Hash()] = &cfg.Keys[i]
	}
	entries, _ := root.get("keys")
	var changes []change
	for _, r := range keys {
		key, ok := configured[r.Key]
		if !ok {
			return nil, fmt.Errorf("has no key %v any more", r.Key)
		}
		entry, _ := entries.get(r.Key.String()) // it is there: Parse has read it
		more, err := how(data, key, entry, r)
		if err != nil {
			return nil, fmt.Errorf("key %v: %w", r.Key, err)
		}
		changes = append(changes, more...)
	}
	return apply(data, changes), nil
}

// apply makes changes that do not overlap.
func apply(data []byte, changes []change) []byte {
	slices.SortFunc(changes, func(a, b change) int { return cmp.Compare(a.from, b.from) })
	var changed []byte
	var at int64
	for _, c := range changes {
		changed = append(append(changed, data[at:c.from]...), c.text...)
		at = c.to
	}
	return append(changed, data[at:]...)
}

// index is the position of the first member with one of the names.
func (v value) index(names ...string) int {
	return slices.IndexFunc(v.members, func(m member) bool { return slices.Contains(names, m.name) })
}

// before is where the value, or the brace, before a member ends.
func (v value) before(at int) int64 {
	if at == 0 {
		return v.start + 1
	}
	return v.members[at-1].value.end
}

// indent is the space between the name of a member and the comma or brace before it.
func (v value) indent(data []byte, at int) string {
	blank, _, _ := bytes.Cut(data[v.before(at):v.members[at].value.start], []byte{'"'})
	return string(blank[bytes.IndexByte(blank, ',')+1:])
}

// without removes a member with the comma before or after it.
func (v value) without(data []byte, at int) change {
	end := v.members[at].value.end
	if at == 0 {
		end += int64(bytes.IndexByte(data[end:], ',') + 1) // it is there: public_key must follow
	}
	return change{from: v.before(at), to: end}
}
