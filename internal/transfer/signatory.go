package transfer

// Signatory's watermarks (pkg/signatory/watermark, file backend): a file for each chain.

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pawl/ratchet"
	"pawl/tezos"
)

// signatoryMark is what there is for a key and a kind.
type signatoryMark struct {
	Level *int32  `json:"level"`
	Round *int32  `json:"round"`
	Hash  *string `json:"hash"` // BLAKE2b-256 of the whole payload, written as a payload hash
}

const signatoryFolder = "watermark_v2"

// readSignatory reads a watermark_v2 folder, the folder that holds it, or one of its files.
func readSignatory(path string, _ tezos.PublicKeyHash) (marks, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	files := []string{path}
	if info.IsDir() {
		if inner := filepath.Join(path, signatoryFolder); isFolder(inner) {
			path = inner
		}
		if files, err = filepath.Glob(filepath.Join(path, "*.json")); err != nil {
			return nil, err
		}
	}
	found := make(marks)
	for _, file := range files {
		if err := found.addSignatory(file); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// addSignatory adds the marks of a file, whose name is the chain.
func (m marks) addSignatory(file string) error {
	chain, err := tezos.ParseChainID(strings.TrimSuffix(filepath.Base(file), ".json"))
	if err != nil {
		return fmt.Errorf("%s: the name is no chain: %v", file, err)
	}
	text, err := readText(file)
	if err != nil {
		return err
	}
	err = eachKey(text, func(key tezos.PublicKeyHash, value []byte) error { return m.addKinds(chain, key, value) })
	if err != nil {
		return fmt.Errorf("%s: %v", file, err)
	}
	return nil
}

// addKinds adds the marks of a key.
func (m marks) addKinds(chain tezos.ChainID, key tezos.PublicKeyHash, value []byte) error {
	var kinds object
	if err := json.Unmarshal(value, &kinds); err != nil {
		return err
	}
	for _, kind := range kinds.names() {
		mark := ratchet.StoredMark{Mark: ratchet.Mark{Key: key, ChainID: chain}}
		if err := signatoryInto(&mark, kind, kinds[kind]); err != nil {
			return fmt.Errorf("%s: %v", kind, err)
		}
		m.add(mark)
	}
	return nil
}

func signatoryInto(mark *ratchet.StoredMark, kind string, value []byte) (err error) {
	var r signatoryMark
	if mark.Kind, err = kindOf(kind); err != nil {
		return err
	}
	if err := record(value, &r); err != nil {
		return err
	}
	if err := levels(mark, r.Level, r.Round); err != nil {
		return err
	}
	if r.Hash == nil {
		return errors.New("no hash")
	}
	mark.Digest, err = tezos.ParsePayloadHash(*r.Hash)
	return err
}
