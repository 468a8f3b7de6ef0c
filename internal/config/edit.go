package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"pawl/internal/durable"
	"pawl/tezos"
)

// AddKey adds an entry for a key to the keys.json at path, with blobFile as its secret_key_file,
// and changes no other byte. It replaces the file in one step, durably. It refuses a key that has
// an entry already.
func AddKey(path string, pk tezos.PublicKey, blobFile string) error {
	return edit(path, func(data []byte, root value) ([]byte, error) {
		keys, ok := root.get("keys")
		if !ok || !keys.object {
			return nil, errors.New("has no object keys to add to")
		}
		hash := pk.Hash().String()
		if _, double := keys.get(hash); double {
			return nil, fmt.Errorf("has the key %s already", hash)
		}
		entry, err := keyEntry(hash, pk.String(), blobFile)
		if err != nil {
			return nil, err
		}
		from, to := keys.start+1, keys.end-1 // of the blanks before the brace
		if n := len(keys.members); n > 0 {
			from, entry = keys.members[n-1].value.end, ","+entry
		}
		if blank := data[from:to]; len(keys.members) == 0 || !bytes.Contains(blank, []byte("\n")) {
			return splice(data, from, to, asLines(data, entry+"\n    ")), nil // the brace on a line of its own
		}
		return splice(data, from, from, asLines(data, entry)), nil
	})
}

// keyEntry is the text of a member of keys, indented by four blanks.
func keyEntry(hash, public, blobFile string) (string, error) {
	entry, err := json.MarshalIndent(struct {
		PublicKey string `json:"public_key"`
		BlobFile  string `json:"secret_key_file"`
	}{public, blobFile}, "        ", "    ")
	return fmt.Sprintf("\n        %q: %s", hash, entry), err
}

// SetURL sets url in the keys.json at path and changes no other byte. It replaces the file
// in one step, durably, and only if it changes.
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

// edit replaces the file at path by what change makes of it, unless that is the same or no
// valid keys.json. Commands that run at once wait for each other.
func edit(path string, change func(data []byte, root value) ([]byte, error)) error {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	unlock, err := durable.LockFolder(filepath.Dir(target)) // the file itself is replaced
	if err != nil {
		return err
	}
	defer unlock()
	whole, _, err := durable.ReadFile(path, MaxConfigSize)
	if err != nil {
		return err
	}
	data, err := durable.Text(whole)
	if err != nil {
		return &FileError{path, err}
	}
	root, err := parseJSON(data)
	if err != nil {
		return &FileError{path, err}
	}
	changed, err := change(data, root)
	if err != nil {
		return &FileError{path, err}
	}
	if string(changed) == string(data) {
		return nil
	}
	if _, _, err := read(changed, filepath.Dir(path)); err != nil {
		return &FileError{path, err}
	}
	mark := whole[:len(whole)-len(data)] // a byte order mark, or nothing
	return durable.Replace(path, append(bytes.Clone(mark), changed...))
}

// asLines gives text the line ends of data: those of Windows if it has any.
func asLines(data []byte, text string) string {
	if bytes.Contains(data, []byte("\r\n")) {
		return strings.ReplaceAll(text, "\n", "\r\n")
	}
	return text
}
