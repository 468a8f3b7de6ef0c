package transfer

// The state files of other signers.

import (
	"fmt"
	"maps"
	"slices"

	"pawl/ratchet"
	"pawl/tezos"
)

// Formats are the names of what Foreign reads.
func Formats() []string { return slices.Sorted(maps.Keys(formats)) }

// formats read the marks of other signers. key is the one that files without keys are of, zero if it was
// not told. Errors name the line or the place.
var formats = map[string]func(path string, key tezos.PublicKeyHash) (marks, error){
	"csv":       readCSV,
	"octez":     readOctez,
	"python":    readPython,
	"signatory": readSignatory,
}

// Foreign reads the marks that another signer keeps at path, a file or a folder as its format wants. Each
// key is registered on each chain from its highest level there on. What cannot be understood is an
// error, whatever else there is. key is for files that name none; zero if it was not told.
func Foreign(format, path string, key tezos.PublicKeyHash) (Content, error) {
	read, ok := formats[format]
	if !ok {
		return Content{}, fmt.Errorf("format %q: want one of %v", format, Formats())
	}
	found, err := read(path, key)
	if err != nil {
		return Content{}, err
	}
	if len(found) == 0 {
		return Content{}, fmt.Errorf("%s holds no mark", path)
	}
	return found.content(), nil
}

// marks are what was found, each slot key once.
type marks map[ratchet.SlotKey]ratchet.StoredMark

// add keeps the higher of two marks of a slot key: other signers tell attestations with and without DAL
// apart, which are one slot.
func (m marks) add(mark ratchet.StoredMark) {
	before, there := m[mark.SlotKey()]
	if there {
		mark = before.Merge(mark)
	}
	m[mark.SlotKey()] = mark
}

// content orders the marks, and registers each key from its highest level on each chain on.
func (m marks) content() (c Content) {
	type place struct {
		key   tezos.PublicKeyHash
		chain tezos.ChainID
	}
	floors := make(map[place]int32)
	for _, mark := range m {
		at := place{mark.Key, mark.ChainID}
		floors[at] = max(floors[at], mark.Level)
	}
	for at, level := range floors {
		c.Registrations = append(c.Registrations, ratchet.Registration{Key: at.key, ChainID: at.chain, FromLevel: level})
	}
	c.Marks = slices.Collect(maps.Values(m))
	c.Sort()
	return c
}

// kindNames are the names that other signers have for the kinds, old ones among them.
var kindNames = map[string]tezos.Kind{
	"block": tezos.Block, "Baking": tezos.Block,
	"preattestation": tezos.Preattestation, "preendorsement": tezos.Preattestation, "Preendorsement": tezos.Preattestation,
	"attestation": tezos.Attestation, "endorsement": tezos.Attestation, "Endorsement": tezos.Attestation,
	"attestation_with_dal": tezos.Attestation, "endorsement_with_dal": tezos.Attestation,
}

func kindOf(name string) (tezos.Kind, error) {
	kind, ok := kindNames[name]
	if !ok {
		return 0, fmt.Errorf("kind %q: want block, preattestation or attestation", name)
	}
	return kind, nil
}
