package ratchet

// The rows as JSON: of the admin listener and of an export.

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"pawl/tezos"
)

// anyChainID is the chain_id of a registration for any chain.
const anyChainID = "any"

// registrationJSON is a registration in JSON.
type registrationJSON struct {
	PublicKeyHash string     `json:"pkh"`
	ChainID       string     `json:"chain_id"`   // or "any"
	FromLevel     *int32     `json:"from_level"` // the lowest level that may be signed; null: any
	NotAfter      *int32     `json:"not_after,omitempty"`
	Retired       string     `json:"retired,omitempty"`
	Fence         *fenceJSON `json:"fence,omitempty"`
}

// fenceJSON is a fence in JSON.
type fenceJSON struct {
	Cause string `json:"cause"`
	Known int32  `json:"known"`           // the highest level that anything knew
	Until *int32 `json:"until,omitempty"` // none before a request or an operator sets it
}

// MarshalJSON writes pkh, chain_id and from_level. The chain_id of AnyChain is "any", and the from_level
// of a registration without a floor is null.
func (r Registration) MarshalJSON() ([]byte, error) {
	row := registrationJSON{PublicKeyHash: r.Key.String(), ChainID: anyChainID}
	if !r.AnyChain {
		row.ChainID = r.ChainID.String()
	}
	if !r.AnyChain && !r.NoFloor {
		row.FromLevel = &r.FromLevel
	}
	if row.Retired = r.Retired; r.Bounded {
		row.NotAfter = &r.NotAfter
	}
	if r.Fence.Cause != NoCause {
		row.Fence = &fenceJSON{Cause: r.Fence.Cause.String(), Known: r.Fence.Known}
		if r.Fence.Set {
			row.Fence.Until = &r.Fence.Until
		}
	}
	return json.Marshal(row)
}

// UnmarshalJSON reads what MarshalJSON has written, and refuses anything else.
func (r *Registration) UnmarshalJSON(text []byte) (err error) {
	var row registrationJSON
	if err := strictly(text, &row); err != nil {
		return err
	}
	*r = Registration{AnyChain: row.ChainID == anyChainID}
	if r.Key, err = tezos.ParsePublicKeyHash(row.PublicKeyHash); err != nil {
		return fmt.Errorf("pkh %q: %v", row.PublicKeyHash, err)
	}
	if r.Retired = row.Retired; row.NotAfter != nil {
		r.Bounded, r.NotAfter = true, *row.NotAfter
	}
	if err := r.unmarshalFence(row.Fence); err != nil || r.AnyChain {
		return err
	}
	if r.ChainID, err = tezos.ParseChainID(row.ChainID); err != nil {
		return fmt.Errorf("chain_id %q: %v", row.ChainID, err)
	}
	if r.NoFloor = row.FromLevel == nil; !r.NoFloor {
		r.FromLevel = *row.FromLevel
	}
	return nil
}

func (r *Registration) unmarshalFence(f *fenceJSON) error {
	if f == nil {
		return nil
	}
	for cause := Unwitnessed; cause <= Moved; cause++ {
		if cause.String() == f.Cause {
			r.Fence = Fence{Cause: cause, Known: f.Known, Set: f.Until != nil}
		}
	}
	if f.Until != nil {
		r.Fence.Until = *f.Until
	}
	if r.Fence.Cause == NoCause {
		return fmt.Errorf("fence %q: want unwitnessed, rolled_back or moved", f.Cause)
	}
	return nil
}

// markJSON is a stored mark in JSON.
type markJSON struct {
	PublicKeyHash string     `json:"pkh"`
	ChainID       string     `json:"chain_id"`
	Kind          string     `json:"kind"`
	Level         int32      `json:"level"`
	Round         int32      `json:"round"`
	Time          *time.Time `json:"time"`      // null if unknown
	Digest        string     `json:"digest"`    // in hex; "" if unknown
	Signature     string     `json:"signature"` // in base58; "" if unknown
}

// MarshalJSON writes pkh, chain_id, kind, level, round, time, digest and signature. What is unknown is
// null or empty.
func (r StoredMark) MarshalJSON() ([]byte, error) {
	row := markJSON{
		PublicKeyHash: r.Key.String(), ChainID: r.ChainID.String(), Kind: r.Kind.String(), Level: r.Level, Round: r.Round,
	}
	if !r.Time.IsZero() {
		row.Time = &r.Time
	}
	if r.Digest != (tezos.Digest{}) {
		row.Digest = r.Digest.String()
	}
	if r.Signature != nil {
		row.Signature = r.Signature.String()
	}
	return json.Marshal(row)
}

// UnmarshalJSON reads what MarshalJSON has written, and refuses anything else. It does not verify the
// signature.
func (r *StoredMark) UnmarshalJSON(text []byte) (err error) {
	var row markJSON
	if err := strictly(text, &row); err != nil {
		return err
	}
	*r = StoredMark{Mark: Mark{Level: row.Level, Round: row.Round}}
	if r.Key, err = tezos.ParsePublicKeyHash(row.PublicKeyHash); err != nil {
		return fmt.Errorf("pkh %q: %v", row.PublicKeyHash, err)
	}
	if r.ChainID, err = tezos.ParseChainID(row.ChainID); err != nil {
		return fmt.Errorf("chain_id %q: %v", row.ChainID, err)
	}
	if r.Kind, err = ParseKind(row.Kind); err != nil {
		return err
	}
	if row.Time != nil {
		r.Time = row.Time.UTC().Truncate(time.Millisecond)
	}
	return r.unmarshalSignature(row)
}

func (r *StoredMark) unmarshalSignature(row markJSON) error {
	if row.Digest != "" {
		digest, err := hex.DecodeString(row.Digest)
		if err != nil || len(digest) != len(r.Digest) {
			return fmt.Errorf("digest %q: want 32 bytes in hex", row.Digest)
		}
		r.Digest = tezos.Digest(digest)
	}
	if row.Signature == "" {
		return nil
	}
	signature, err := tezos.ParseSignature(row.Signature)
	if err != nil {
		return err
	}
	r.Signature = &signature
	return nil
}

// ParseKind returns the kind of a high watermark by its name, as tezos.Kind's String has it.
func ParseKind(name string) (tezos.Kind, error) {
	for _, kind := range []tezos.Kind{tezos.Block, tezos.Preattestation, tezos.Attestation} {
		if kind.String() == name {
			return kind, nil
		}
	}
	return 0, fmt.Errorf("kind %q: want block, preattestation or attestation", name)
}

// strictly refuses fields that are not known.
func strictly(text []byte, row any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(row)
}
