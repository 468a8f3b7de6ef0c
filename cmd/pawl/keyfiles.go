package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"pawl/signer/grep11"
)

// writeKeyFiles keeps a new key in dir: <pkh>.der is the public key as the HSM
// gave it, <pkh>.sk.hex the wrapped private key in lower-case hex, mode 0600.
// Both are durable when it returns, no existing file was written over, and on
// an error neither is there.
func writeKeyFiles(dir string, key grep11.Generated) error {
	name := filepath.Join(dir, key.PublicKey.Hash().String())
	der, blob := name+".der", name+".sk.hex"
	if err := writeNew(der, key.SPKI, 0o644); err != nil {
		return err
	}
	err := writeNew(blob, []byte(key.Blob.Hex()), 0o600)
	if err == nil {
		if err = syncDir(dir); err == nil {
			return nil
		}
		err = errors.Join(err, os.Remove(blob))
	}
	return errors.Join(err, os.Remove(der))
}

// writeNew makes a file with its content on disk under its name, or none: it
// is written under a temporary name and linked, for a link never replaces.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".pawl-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // the name goes, the file stays under its own
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chmod(mode), temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	err = os.Link(temp.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists and is not written over", path)
	}
	return err
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	folder, err := os.Open(dir) //nolint:gosec // the operator names the folder
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
