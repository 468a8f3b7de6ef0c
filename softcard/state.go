package softcard

import (
	"bytes"
	"crypto/rand"
	"encoding"
	"encoding/gob"
	"fmt"
	"hash"
	"slices"

	"google.golang.org/protobuf/proto"

	"pawl/internal/ep11"
	"pawl/signer/grep11/pb"
)

const (
	maxStateSize   = 8192 // bytes; the largest State that EP11 hands out
	stateNonceSize = 12   // of AES-GCM
)

// direction says what kind of operation a State belongs to.
type direction int

const (
	signing direction = iota + 1
	verifying
	digesting
	encrypting
	decrypting
)

// ability is what a mechanism must be able to do for a direction.
var ability = map[direction]uint64{
	signing:    ep11.CanSign,
	verifying:  ep11.CanVerify,
	digesting:  ep11.CanDigest,
	encrypting: ep11.CanEncrypt,
	decrypting: ep11.CanDecrypt,
}

// operation is an operation between two calls. It travels with the client as a sealed
// State; the card remembers nothing.
type operation struct {
	Direction direction
	Mechanism []byte // as the client sent it
	Key       []byte // the blob as the client sent it; each call opens it again
	Hash      []byte // state of the hash, for a mechanism that hashes
	Chain     []byte // last block of a chained cipher
	Data      []byte // data so far of a mechanism that does not hash, or less than a block of a cipher
	InParts   bool   // an Update was made
}

// ending says which call ends an operation.
type ending bool

const (
	inParts ending = false // Final, after any number of Updates
	atOnce  ending = true  // Sign, Verify, Digest, Encrypt, Decrypt: after Init, with all data
)

// begin starts an operation.
func begin(d direction, wire *pb.Mechanism, blob []byte) (operation, error) {
	raw, err := proto.Marshal(wire)
	if err != nil {
		return operation{}, fmt.Errorf("mechanism of an operation: %v", err)
	}
	return operation{Direction: d, Mechanism: raw, Key: blob}, nil
}

// update returns the State after more data, for a mechanism that hashes. The others take
// their data at once (IBM's GREP11 reference, supported mechanisms).
func (c *Card) update(state, data []byte, d direction) ([]byte, error) {
	op, m, err := c.openState(state, d)
	if err != nil {
		return nil, err
	}
	if m.hash == 0 {
		return nil, refuse(ep11.CodeMechanismInvalid, "mechanism 0x%x takes its data at once", m.id)
	}
	if err := op.write(m, data); err != nil {
		return nil, err
	}
	op.InParts = true
	return c.sealState(op)
}

// finish takes the last data and returns what is to be signed or verified.
func (c *Card) finish(
	state, data []byte, d direction, how ending,
) (op operation, m mechanism, message []byte, err error) {
	if op, m, err = c.openLast(state, d, how); err != nil {
		return op, m, nil, err
	}
	if err = op.write(m, data); err != nil {
		return op, m, nil, err
	}
	message, err = op.message(m)
	return op, m, message, err
}

// sealState returns the State to hand out. It fails only if the mechanism's parameter is
// too long.
func (c *Card) sealState(op operation) ([]byte, error) {
	w, err := c.wrapping()
	if err != nil {
		return nil, err
	}
	var plain bytes.Buffer
	if err := gob.NewEncoder(&plain).Encode(op); err != nil {
		return nil, fmt.Errorf("state of an operation: %v", err)
	}
	if n := stateNonceSize + plain.Len() + tagSize; n > maxStateSize {
		return nil, refuse(ep11.CodeMechanismParamInvalid, "the state would have %d bytes of at most %d", n, maxStateSize)
	}
	nonce := make([]byte, stateNonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("nonce of a state: %v", err)
	}
	return w.states.Seal(nonce, nonce, plain.Bytes(), nil), nil
}

// openState reads a State that this card has sealed for the same direction.
func (c *Card) openState(state []byte, d direction) (operation, mechanism, error) {
	w, err := c.wrapping()
	if err != nil {
		return operation{}, mechanism{}, err
	}
	if len(state) < stateNonceSize || len(state) > maxStateSize {
		return operation{}, mechanism{}, refuse(ep11.CodeSavedStateInvalid, "not a state: %d bytes", len(state))
	}
	plain, err := w.states.Open(nil, state[:stateNonceSize], state[stateNonceSize:], nil)
	if err != nil {
		return operation{}, mechanism{}, refuse(ep11.CodeSavedStateInvalid,
			"the state is not of this card and its master key, or was changed")
	}
	var op operation
	var wire pb.Mechanism
	err = gob.NewDecoder(bytes.NewReader(plain)).Decode(&op)
	if err != nil || op.Direction != d || proto.Unmarshal(op.Mechanism, &wire) != nil {
		return operation{}, mechanism{}, refuse(ep11.CodeSavedStateInvalid, "the state is of another operation")
	}
	m, err := choose(&wire, ability[d])
	return op, m, err
}

// openLast is openState for the call that ends an operation. What was begun in parts is not ended at
// once (PKCS #11 v2.40 section 5.11, C_Sign); the code is opencryptoki's.
func (c *Card) openLast(state []byte, d direction, how ending) (operation, mechanism, error) {
	op, m, err := c.openState(state, d)
	if err == nil && how == atOnce && op.InParts {
		err = refuse(ep11.CodeOperationActive, "after an Update only Final ends the operation")
	}
	return op, m, err
}

// write takes data: into the hash, or as it is.
func (op *operation) write(m mechanism, data []byte) error {
	if m.hash == 0 {
		op.Data = slices.Concat(op.Data, data)
		return nil
	}
	h, err := op.resume(m)
	if err != nil {
		return err
	}
	h.Write(data)
	saved, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		return fmt.Errorf("hash %v cannot be saved", m.hash)
	}
	op.Hash, err = saved.MarshalBinary()
	return err
}

// message returns what is signed: the digest of a hashing mechanism, else the data.
func (op *operation) message(m mechanism) ([]byte, error) {
	if m.hash == 0 {
		return m.message(op.Data)
	}
	h, err := op.resume(m)
	if err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// resume returns the hash as the operation left it.
func (op *operation) resume(m mechanism) (hash.Hash, error) {
	h := m.hash.New()
	if len(op.Hash) == 0 {
		return h, nil
	}
	saved, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, fmt.Errorf("hash %v cannot be resumed", m.hash)
	}
	if err := saved.UnmarshalBinary(op.Hash); err != nil {
		return nil, refuse(ep11.CodeSavedStateInvalid, "the state's hash cannot be read")
	}
	return h, nil
}
