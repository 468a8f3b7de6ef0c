package server

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

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
	// Held are the registrations of the key that are retired or fenced. A fence that a request sets does not
	// make the key unready: it waits for that request.
	Held []ratchet.Registration `json:"held,omitempty"`
}

// newReadyState returns the state that err stands for: nil is ready.
func newReadyState(err error) ReadyState {
	if err != nil {
		return ReadyState{Reason: err.Error()}
	}
	return ReadyState{Ready: true}
}

// Ratchet is the answer of /ratchet, ordered by key, chain and kind.
type Ratchet struct {
	Marks         []Mark                 `json:"marks"`
	Registrations []ratchet.Registration `json:"registrations"`
}

// NewRatchet returns the JSON form of what ratchets hold. A list without elements is [], never null.
func NewRatchet(all ratchet.Snapshot) Ratchet {
	r := Ratchet{make([]Mark, len(all.Marks)), append([]ratchet.Registration{}, all.Registrations...)}
	for i, m := range all.Marks {
		if i > 0 && m.Key == all.Marks[i-1].Key { // to write a hash takes longer than all the rest
			r.Marks[i] = newMark(m, r.Marks[i-1].PublicKeyHash)
			continue
		}
		r.Marks[i] = NewMark(m)
	}
	return r
}

// Snapshot returns what NewRatchet was given, with signatures as in Mark.Stored.
func (r Ratchet) Snapshot() (all ratchet.Snapshot, err error) {
	all.Marks = make([]ratchet.StoredMark, len(r.Marks))
	for i, m := range r.Marks {
		if all.Marks[i], err = m.Stored(); err != nil {
			return ratchet.Snapshot{}, fmt.Errorf("mark %d: %v", i+1, err)
		}
	}
	all.Registrations = r.Registrations
	return all, nil
}

// Mark is a high watermark.
type Mark struct {
	PublicKeyHash string `json:"pkh"`
	ChainID       string `json:"chain_id"`
	Kind          string `json:"kind"`
	Level         int32  `json:"level"`
	Round         int32  `json:"round"`
	// Time is when it was committed, by the clock of that host; null in marks of older pawls.
	Time   *time.Time `json:"time"`
	Digest string     `json:"digest"`
	// Signature reports whether the mark has a signature to answer a retry with.
	Signature bool `json:"signature"`
}

// NewMark returns the JSON form of a stored mark.
func NewMark(m ratchet.StoredMark) Mark { return newMark(m, m.Key.String()) }

func newMark(m ratchet.StoredMark, pkh string) Mark {
	mark := Mark{
		PublicKeyHash: pkh,
		ChainID:       m.ChainID.String(),
		Kind:          m.Kind.String(),
		Level:         m.Level,
		Round:         m.Round,
		Digest:        m.Digest.String(),
		Signature:     m.Signature != nil,
	}
	if !m.Time.IsZero() {
		mark.Time = &m.Time
	}
	return mark
}

// Stored returns the stored mark that NewMark was given. A signature is not part of the JSON: a
// zero one stands for it. It is an error if NewMark cannot have written m.
func (m Mark) Stored() (stored ratchet.StoredMark, err error) {
	if stored.Key, err = tezos.ParsePublicKeyHash(m.PublicKeyHash); err != nil {
		return ratchet.StoredMark{}, err
	}
	if stored.ChainID, err = tezos.ParseChainID(m.ChainID); err != nil {
		return ratchet.StoredMark{}, err
	}
	if stored.Kind, err = ratchet.ParseKind(m.Kind); err != nil {
		return ratchet.StoredMark{}, err
	}
	digest, err := hex.DecodeString(m.Digest)
	if err != nil || len(digest) != len(stored.Digest) {
		return ratchet.StoredMark{}, errors.New("digest is not 32 bytes in hex")
	}
	stored.Level, stored.Round, stored.Digest = m.Level, m.Round, tezos.Digest(digest)
	if m.Time != nil {
		stored.Time = *m.Time
	}
	if m.Signature {
		stored.Signature = new(tezos.Signature)
	}
	return stored, nil
}
