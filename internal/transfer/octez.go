package transfer

// octez-signer's high watermarks (src/bin_signer/high_watermark.ml): a file for each kind.

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pawl/ratchet"
	"pawl/tezos"
)

const octezSuffix = "_high_watermarks"

// octezKinds begin the names of the files. Until v22 they were called after endorsements.
var octezKinds = []string{"block", "preattestation", "attestation", "preendorsement", "endorsement"}

// octezMark is what there is for a chain and a key.
type octezMark struct {
	Level     *int32  `json:"level"`
	Round     *int32  `json:"round"` // absent before Tenderbake
	Hash      *string `json:"hash"`  // of the payload: BLAKE2b-256 in hex
	Signature *string `json:"signature"`
}

// readOctez reads a base directory of octez-signer, or one of its files.
func readOctez(path string, _ tezos.PublicKeyHash) (marks, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	found := make(marks)
	if !info.IsDir() {
		kind, err := kindOf(strings.TrimSuffix(filepath.Base(path), octezSuffix))
		if err != nil {
			return nil, fmt.Errorf("%s: %v: the name is that of octez-signer, as in block%s", path, err, octezSuffix)
		}
		return found, found.addOctez(path, kind)
	}
	for _, name := range octezKinds {
		file := filepath.Join(path, name+octezSuffix)
		switch err := found.addOctez(file, kindNames[name]); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		}
	}
	return found, nil
}

// addOctez adds the marks of a file.
func (m marks) addOctez(file string, kind tezos.Kind) error {
	chains, err := readObject(file)
	if err != nil {
		return err
	}
	for _, name := range chains.names() {
		if err := m.addOctezChain(name, chains[name], kind); err != nil {
			return fmt.Errorf("%s: %s: %v", file, name, err)
		}
	}
	return nil
}

func (m marks) addOctezChain(name string, value []byte, kind tezos.Kind) error {
	chain, err := tezos.ParseChainID(name)
	if err != nil {
		return err
	}
	return eachKey(value, func(key tezos.PublicKeyHash, value []byte) error {
		mark := ratchet.StoredMark{Mark: ratchet.Mark{Key: key, ChainID: chain, Kind: kind}}
		if err := octezInto(&mark, value); err != nil {
			return err
		}
		m.add(mark)
		return nil
	})
}

// octezInto reads level, round, hash and signature.
func octezInto(mark *ratchet.StoredMark, value []byte) error {
	var r octezMark
	if err := record(value, &r); err != nil {
		return err
	}
	if err := levels(mark, r.Level, r.Round); err != nil {
		return err
	}
	if r.Hash == nil {
		return errors.New("no hash")
	}
	digest, err := hex.DecodeString(*r.Hash)
	if err != nil || len(digest) != len(mark.Digest) {
		return fmt.Errorf("hash %q: want 32 bytes in hex", *r.Hash)
	}
	mark.Digest = tezos.Digest(digest)
	if r.Signature == nil {
		return nil
	}
	signature, err := tezos.ParseSignature(*r.Signature)
	if err != nil {
		return err
	}
	mark.Signature = &signature
	return nil
}

// levels takes a level, and a round that is 0 if there is none.
func levels(mark *ratchet.StoredMark, level, round *int32) error {
	switch {
	case level == nil:
		return errors.New("no level")
	case *level < 0 || round != nil && *round < 0:
		return errors.New("level and round: want neither negative")
	}
	mark.Level = *level
	if round != nil {
		mark.Round = *round
	}
	return nil
}
