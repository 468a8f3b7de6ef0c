package config

import (
	"maps"
	"slices"
	"strings"

	"pawl/internal/durable"
	"pawl/internal/ep11"
)

// ReadFiles reads the key blobs that lie in files of their own, and judges the files that keys.json
// names for the user who runs the daemon: see Rights. It returns a copy of the configuration whose
// keys have these blobs, and all findings, those of Load among them. A key whose file is bad has no
// blob, and a finding says why. Nothing is changed and no lock is taken.
func (c *Config) ReadFiles(user durable.User) (*Config, []Finding) {
	copied := *c
	copied.Keys = slices.Clone(c.Keys)
	r := report{findings: slices.Clone(c.findings), wrappingID: maps.Clone(c.wrappingID)}
	r.readable("key_path", c.HSM.KeyPath)
	r.readable("apikey_file", c.HSM.APIKeyFile)
	for i := range copied.Keys {
		r.blobFile(&copied.Keys[i])
	}
	if len(r.wrappingID) != len(c.wrappingID) { // Parse has not seen those in files
		r.checkWrappingKeys()
	}
	r.findings = append(r.findings, c.Rights(user)...)
	copied.findings, copied.wrappingID = r.findings, r.wrappingID
	return &copied, r.findings
}

// readable checks that there is a file that we may read. Reading it is for those who need it.
func (r *report) readable(name, path string) {
	if path == "" {
		return
	}
	if err := durable.CheckRegular(path); err != nil {
		r.unopenable(name, "%v", err)
	}
}

func (r *report) blobFile(key *KeySpec) {
	if key.BlobFile == "" {
		return
	}
	var err error
	if key.Blob, err = ep11.ReadBlob(key.BlobFile); err != nil {
		r.add(Unopenable, BadBlob, key.path("secret_key_file"), "%v", err)
		return
	}
	r.checkBlob(key.path("secret_key_file"), key.Blob)
	r.checkNext(key.path("secret_key_next"), *key)
}

// path is where a name of the key stands in keys.json.
func (k *KeySpec) path(name string) string {
	return strings.Join([]string{"keys", k.PublicKey.Hash().String(), name}, ".")
}

// Blobs returns the blobs of the key that can be read, the one in use first, and why one of a
// file of its own cannot. Parse has told of the others.
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

// current is the blob of the key, from its file if it lies there.
func (k *KeySpec) current() (ep11.Blob, error) {
	if k.BlobFile != "" {
		return ep11.ReadBlob(k.BlobFile)
	}
	return k.Blob, nil
}
