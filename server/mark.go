package server

import (
	"encoding/hex"
	"errors"

	"pawl/ratchet"
	"pawl/tezos"
)

// Mark is one element of the answer of /ratchet: a high watermark as JSON.
type Mark struct {
	PublicKeyHash string `json:"pkh"`
	ChainID       string `json:"chain_id"`
	Kind          string `json:"kind"`
	Level         int32  `json:"level"`
	Round         int32  `json:"round"`
	Digest        string `json:"digest"`
	// Signature is whether the mark has a signature to answer a retry with.
	Signature bool `json:"signature"`
}

// NewMark returns the JSON form of a stored mark.
func NewMark(e ratchet.StoredMark) Mark {
	return Mark{
		PublicKeyHash: e.Key.String(),
		ChainID:       e.ChainID.String(),
		Kind:          e.Kind.String(),
		Level:         e.Level,
		Round:         e.Round,
		Digest:        e.Digest.String(),
		Signature:     e.Signature != nil,
	}
}

// Stored is the stored mark again, or an error for what NewMark does not write. The listener tells
// only whether there is a signature: an empty one stands for it.
func (m Mark) Stored() (stored ratchet.StoredMark, err error) {
	if stored.Key, err = tezos.ParsePublicKeyHash(m.PublicKeyHash); err != nil {
		return ratchet.StoredMark{}, err
	}
	if stored.ChainID, err = tezos.ParseChainID(m.ChainID); err != nil {
		return ratchet.StoredMark{}, err
	}
	for _, kind := range []tezos.Kind{tezos.Block, tezos.Preattestation, tezos.Attestation} {
		if kind.String() == m.Kind {
			stored.Kind = kind
		}
	}
	digest, err := hex.DecodeString(m.Digest)
	if err != nil || len(digest) != len(stored.Digest) || stored.Kind == 0 {
		return ratchet.StoredMark{}, errors.New("unknown kind, or a digest that is none")
	}
	stored.Level, stored.Round, stored.Digest = m.Level, m.Round, tezos.Digest(digest)
	if m.Signature {
		stored.Signature = new(tezos.Signature)
	}
	return stored, nil
}
