package main

import (
	"errors"
	"os"
	"path/filepath"

	"pawl/internal/durable"
	"pawl/signer/grep11"
	"pawl/tezos"
)

// blobFile is the file of a key's blob in dir.
func blobFile(dir string, hash tezos.PublicKeyHash) string {
	return filepath.Join(dir, hash.String()+".sk.hex")
}

// writeKeyFiles keeps a new key in dir: <pkh>.der is the public key as the HSM gave it,
// <pkh>.sk.hex the wrapped private key in lower-case hex, mode 0600. Both are on disk when
// it returns nil. It never writes over an existing file, and on an error it leaves neither.
func writeKeyFiles(dir string, key grep11.Generated) error {
	blob := blobFile(dir, key.PublicKey.Hash())
	der := filepath.Join(dir, key.PublicKey.Hash().String()+".der")
	if err := durable.WriteNew(der, key.SPKI, 0o644); err != nil {
		return err
	}
	if err := durable.WriteNew(blob, []byte(key.Blob.Hex()), 0o600); err != nil {
		return errors.Join(err, os.Remove(der))
	}
	return nil
}
