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
func NewMark(e ratchet.Entry) Mark {
	return Mark{
		PublicKeyHash: e.Key.String(),
		ChainID:       e.ChainID.String(),
		Kind:          e.Kind.String(),
		Level:         e.Level,
		Round:         e.Round,
		Digest:        e.Digest.String(),
		Signature:     e.HasSignature,
	}
}

// Entry is the stored mark again, or an error for what NewMark does not write.
func (m Mark) Entry() (e ratchet.Entry, err error) {
	if e.Key, err = tezos.ParsePublicKeyHash(m.PublicKeyHash); err != nil {
		return ratchet.Entry{}, err
	}
	if e.ChainID, err = tezos.ParseChainID(m.ChainID); err != nil {
		return ratchet.Entry{}, err
	}
	for _, kind := range []tezos.Kind{tezos.Block, tezos.Preattestation, tezos.Attestation} {
		if kind.String() == m.Kind {
			e.Kind = kind
		}
	}
	digest, err := hex.DecodeString(m.Digest)
	if err != nil || len(digest) != len(e.Digest) || e.Kind == 0 {
		return ratchet.Entry{}, errors.New("unknown kind, or a digest that is none")
	}
	e.Level, e.Round, e.Digest, e.HasSignature = m.Level, m.Round, tezos.Digest(digest), m.Signature
	return e, nil
}
