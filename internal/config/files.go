package config

// This file reads the key blobs that have files of their own, and checks the modes of secret files.

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strings"

	"pawl/internal/durable"
	"pawl/internal/ep11"
)

// ReadFiles checks the secret files that keys.json names, and reads the key blobs that have
// files of their own. It returns a copy of the configuration with these blobs, and all findings,
// including those of Load. If a key's file is bad, the key has no blob and a finding says why.
// ReadFiles changes nothing and takes no lock.
func (c *Config) ReadFiles() (*Config, []Finding) {
	copied := *c
	copied.Keys = slices.Clone(c.Keys)
	r := report{findings: slices.Clone(c.findings), wrappingID: maps.Clone(c.wrappingID)}
	r.secret("key_path", c.HSM.KeyPath)
	r.secret("apikey_file", c.HSM.APIKeyFile)
	for i := range copied.Keys {
		r.blobFile(&copied.Keys[i])
	}
	if len(r.wrappingID) != len(c.wrappingID) { // else Parse has already warned
		r.checkWrappingKeys()
	}
	copied.findings, copied.wrappingID = r.findings, r.wrappingID
	return &copied, r.findings
}

// secret checks that only the owner may read a file with a secret.
func (r *report) secret(name, path string) {
	if path == "" {
		return
	}
	err := durable.CheckMode(path, durable.Others)
	if open, ok := errors.AsType[*durable.OpenError](err); ok {
		r.add(Unopenable, ModeOpen, name, "%v", open)
	} else if err != nil {
		r.unopenable(name, "%v", err)
	}
}

func (r *report) blobFile(key *KeySpec) {
	if key.BlobFile == "" {
		return
	}
	var err error
	if key.Blob, err = readBlob(key.BlobFile); err != nil {
		r.add(Unopenable, BadBlob, key.path("secret_key_file"), "%v", err)
		return
	}
	r.checkBlob(key.path("secret_key_file"), key.Blob)
	r.checkNext(key.path("secret_key_next"), *key)
}

// path returns the place of one of the key's names in keys.json.
func (k *KeySpec) path(name string) string {
	return strings.Join([]string{"keys", k.PublicKey.Hash().String(), name}, ".")
}

// readBlob reads a file with the hex of one blob.
func readBlob(path string) (ep11.Blob, error) {
	data, err := os.ReadFile(path) //nolint:gosec // keys.json names the file
	if err != nil {
		return nil, err
	}
	return ep11.ParseBlob(string(data))
}

// Blobs returns the readable blobs of the key, the one in use first. The error says why the
// blob in secret_key_file cannot be read. For unreadable blobs in keys.json there are findings.
func (k *KeySpec) Blobs() ([]ep11.Blob, error) {
	blob, err := k.current()
	var blobs []ep11.Blob
	for _, b := range []ep11.Blob{blob, k.NextBlob} {
		if b != nil {
			blobs = append(blobs, b)
		}
	}
	return blobs, err
}

// current returns the blob in use, and reads it from its file if it has one.
func (k *KeySpec) current() (ep11.Blob, error) {
	if k.BlobFile != "" {
		return readBlob(k.BlobFile)
	}
	return k.Blob, nil
}
