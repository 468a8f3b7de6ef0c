package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"pawl/internal/ep11"
	"pawl/signer/grep11"
	"pawl/tezos"
)

type keysCmd struct {
	List    keysListCmd    `cmd:"" help:"List the keys of keys.json."`
	Import  keysImportCmd  `cmd:"" help:"Bring a key that exists into the HSM."`
	Derive  keysDeriveCmd  `cmd:"" help:"Derive a key in the HSM from a seed in it."`
	Seed    keysSeedCmd    `cmd:"" help:"Make a seed in the HSM, or bring one into it."`
	Rewrap  keysRewrapCmd  `cmd:"" help:"Take the keys over to a new master key of the HSM."`
	Inspect keysInspectCmd `cmd:"" help:"Say what key blobs tell, without the HSM."`
}

// keyPlace is where a key is made and where its files go.
type keyPlace struct {
	Dir    string `default:"." placeholder:"DIR" help:"Folder of the files <hash>.sk.hex and <hash>.der (default: the working folder)."`
	Config string `placeholder:"FILE" help:"keys.json that names the GREP11 servers (default: ./credential.yaml, else ./keys.json)."`
}

// servers returns the servers of which one makes the key, once its files can be written.
func (p keyPlace) servers() ([]grep11.Config, error) {
	servers, err := connection(p.Config)
	if err != nil {
		return nil, err
	}
	return servers, writable("--dir", p.Dir)
}

// keep writes the files of a key, says what is still to be done, and prints it as
// createtezoskey does. A key that pawl did not make just now may have signed elsewhere: it is
// never registered as new.
func (p keyPlace) keep(s *streams, key grep11.Generated) error {
	if err := writeKeyFiles(p.Dir, key); err != nil {
		return fmt.Errorf("keeping the key: %w", err)
	}
	hash := key.PublicKey.Hash()
	s.notef("note: %v may have signed elsewhere and is not registered. Stop whatever else signs with it, add it to "+
		"keys.json, then: pawl ratchet register %[1]v --chain NetX… --from-level N, with N above each level that it "+
		"ever signed", hash)
	err := s.printf("%s\n\n%v\n%v\n", key.Blob.Hex(), key.PublicKey, hash)
	return withHint(err, "the key is kept in %s", p.Dir)
}

// vacant returns nil if the key has no files in the folder yet.
func (p keyPlace) vacant(hash tezos.PublicKeyHash) error {
	for _, suffix := range []string{".sk.hex", ".der"} {
		path := filepath.Join(p.Dir, hash.String()+suffix)
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s already exists", path)
		}
	}
	return nil
}

// needs names the mechanisms a command needs when the server lacks one.
func needs(err error, mechanisms string) error {
	refusal, ok := errors.AsType[*grep11.Error](err)
	if ok && (refusal.Code == ep11.CodeMechanismInvalid || refusal.Code == ep11.CodeFunctionNotSupported) {
		return withHint(err, "the HSM has to offer %s", mechanisms)
	}
	return err
}
