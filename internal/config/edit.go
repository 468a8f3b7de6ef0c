package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"pawl/internal/ep11"
	"pawl/tezos"
)

// AddKey adds an entry for a key to the keys.json at path and leaves every
// other byte as it is. The file is replaced whole or not at all, durably. A key
// that is there already is refused.
func AddKey(path string, pk tezos.PublicKey, blob ep11.Blob) error {
	return edit(path, func(data []byte, root value) ([]byte, error) {
		keys, ok := root.get("keys")
		if !ok || !keys.object {
			return nil, errors.New("has no object keys to add to")
		}
		hash := pk.Hash().String()
		if _, double := keys.get(hash); double {
			return nil, fmt.Errorf("has the key %s already", hash)
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

// keyEntry is a member of keys as the text of a file indented by four blanks.
func keyEntry(hash, public, blob string) (string, error) {
	entry, err := json.MarshalIndent(struct {
		PublicKey string `json:"public_key"`
		SecretKey string `json:"secret_key"`
	}{public, blob}, "        ", "    ")
	return fmt.Sprintf("\n        %q: %s", hash, entry), err
}

// SetURL sets url in the keys.json at path and leaves every other byte as it
// is. The file is replaced whole or not at all, durably, and only if it changes.
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

// edit replaces the file at path by what change makes of it, if that is a
// keys.json and not the same. Of several commands at once one waits for the other.
func edit(path string, change func(data []byte, root value) ([]byte, error)) error {
	unlock, err := lockFolder(path)
	if err != nil {
		return err
	}
	defer unlock()
	data, err := os.ReadFile(path) //nolint:gosec // the operator names the file
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
	return replaceFile(path, changed)
}

// lockFolder takes an flock(2) on the folder of the file that path leads to: the file
// itself is replaced by another one. It waits for at most a second, for whoever may read
// the folder can hold it.
func lockFolder(path string) (unlock func(), err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	for range 100 { // an edit takes milliseconds
		if err = unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", folder.Name(), err), folder.Close())
	}
	return func() { _ = folder.Close() }, nil
}

// replaceFile writes data beside the file that path leads to, syncs it, and
// renames it over that file. Owner and mode stay, or nothing is done: the daemon
// may run as another user than the operator.
func replaceFile(path string, data []byte) (err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	var old unix.Stat_t
	if err := unix.Stat(path, &old); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chown(int(old.Uid), int(old.Gid)), temp.Chmod(os.FileMode(old.Mode).Perm()))
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err = os.Rename(temp.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes the names in a folder durable.
func syncFolder(path string) error {
	folder, err := os.Open(path) //nolint:gosec // the folder of a file that the operator named
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
