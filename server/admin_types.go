package server

import (
	"encoding/hex"
	"errors"
	"fmt"

	"pawl/ratchet"
	"pawl/tezos"
)

// Readiness is the answer of /readyz.
type Readiness struct {
	// Ready reports whether every key can sign.
	Ready   bool                  `json:"ready"`
	Keys    map[string]ReadyState `json:"keys"`    // by public key hash
	Servers map[string]ReadyState `json:"servers"` // by address
}

// ReadyState is the state of one key or one HSM server. A server is ready when all its keys can
// sign there.
type ReadyState struct {
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"` // why it is not ready
}

// newReadyState returns the state that err stands for: nil is ready.
func newReadyState(err error) ReadyState {
	if err != nil {
		return ReadyState{Reason: err.Error()}
	}
	return ReadyState{Ready: true}
}

// Mark is a high watermark, one element of the answer of /ratchet.
type Mark struct {
	PublicKeyHash string `json:"pkh"`
	ChainID       string `json:"chain_id"`
	Kind          string `json:"kind"`
	Level         int32  `json:"level"`
	Round         int32  `json:"round"`
	Digest        string `json:"digest"`
	// Signature reports whether the mark has a signature to answer a retry with.
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

// Stored returns the stored mark that NewMark was given. It is an error if NewMark cannot have
// written m. The listener tells only whether there is a signature: an empty one stands for it.
func (m Mark) Stored() (e ratchet.StoredMark, err error) {
	if e.Key, err = tezos.ParsePublicKeyHash(m.PublicKeyHash); err != nil {
		return ratchet.StoredMark{}, err
	}
	if e.ChainID, err = tezos.ParseChainID(m.ChainID); err != nil {
		return ratchet.StoredMark{}, err
	}
	if e.Kind, err = parseKind(m.Kind); err != nil {
		return ratchet.StoredMark{}, err
	}
	digest, err := hex.DecodeString(m.Digest)
	if err != nil || len(digest) != len(e.Digest) {
		return ratchet.StoredMark{}, errors.New("digest is not 32 bytes in hex")
	}
	e.Level, e.Round, e.Digest = m.Level, m.Round, tezos.Digest(digest)
	if m.Signature {
		e.Signature = new(tezos.Signature)
	}
	return e, nil
}

func parseKind(text string) (tezos.Kind, error) {
	for _, kind := range []tezos.Kind{tezos.Block, tezos.Preattestation, tezos.Attestation} {
		if kind.String() == text {
			return kind, nil
		}
	}
	return 0, fmt.Errorf("unknown kind %q", text)
}
