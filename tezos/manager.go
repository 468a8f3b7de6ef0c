package tezos

// This file reads the bodies of manager operations, except those of smart rollups.

import "slices"

const (
	// maxEntrypoint is the longest name of an entrypoint (entrypoint_repr.ml).
	maxEntrypoint = 31
	blsProofSize  = 96
	mldsaKeySize  = 1312 // FIPS 204, table 2

	firstManagerTag = 0x6b // the lowest in managerBodies
)

// reveal reads a public key, which must be that of the source.
func (r *reader) reveal(c *Content) {
	at := r.pos
	hash := r.publicKey()
	if hash != c.Source {
		r.fail(at, "public key is not that of the source")
	}
	r.proof(hash.Kind())
}

// publicKey reads a tag and a valid public key, and returns its hash.
func (r *reader) publicKey() PublicKeyHash {
	at := r.pos
	kind := KeyKind(r.byte("public key"))
	size := mldsaKeySize
	switch {
	case int(kind) < len(publicKeyPrefixes):
		size = publicKeyPrefixes[kind].size
	case kind != MLDSA44:
		r.fail(at, "public key has unknown tag 0x%02x", byte(kind))
	}
	raw := r.bytes(size, "public key")
	if r.err != nil || kind == MLDSA44 {
		return hashPublicKey(kind, raw)
	}
	key, err := NewPublicKey(kind, raw)
	if err != nil {
		r.fail(at, "public key is invalid: %v", err)
	}
	return key.Hash()
}

// proof reads the proof of possession. It must be present for a tz4 key, and absent for
// others.
func (r *reader) proof(kind KeyKind) {
	at := r.pos
	switch {
	case r.err != nil:
	case at == r.end:
		r.fail(at, "proof is cut short: forged for a protocol before Seoul, or cut off")
	case r.buf[at] >= firstManagerTag && r.buf[at] != flagPresent: // the next operation begins here
		r.fail(at, "proof flag 0x%02x is neither 00 nor ff: forged for a protocol before Seoul", r.buf[at])
	}
	present := r.flag("proof")
	if present != (kind == BLS12381) {
		r.fail(at, "proof must be present for a tz4 key, and absent for others")
	}
	if !present {
		return
	}
	at = r.pos
	if n := len(r.dynamic("proof")); n != blsProofSize {
		r.fail(at, "proof has %d bytes, want %d", n, blsProofSize)
	}
}

// transaction reads a transfer or call. Those by which an account moves its own stake, or sets
// what its delegators get, have kinds of their own.
func (r *reader) transaction(c *Content) {
	c.Amount = r.natural("amount", maxMutez)
	destination := r.contract("destination")
	c.Destination = contractAddress(destination)
	at := r.pos
	if !r.flag("parameters") {
		return
	}
	entrypoint := r.entrypoint()
	value := r.dynamic("parameters")
	if entrypoint == defaultEntrypoint && string(value) == unit {
		r.fail(at, "parameters are the default ones, which must be left out")
	}
	if own := OperationKind(entrypoint); holds(destination, c.Source) && slices.Contains(ownKinds, own) {
		c.Kind = own
	}
	c.Entrypoint, c.Parameters = entrypoint, len(value)
}

// ownKinds are the entrypoints that an implicit account has for itself alone (apply.ml,
// apply_manager_operation). They are kinds too.
var ownKinds = []OperationKind{OpStake, OpUnstake, OpFinalizeUnstake, OpSetDelegateParameters}

const (
	defaultEntrypoint = "default"
	unit              = "\x03\x0b" // the Micheline of Michelson's Unit
)

// builtinEntrypoints are the entrypoints that have tags, in the order of their tags
// (entrypoint_repr.ml).
var builtinEntrypoints = [...]string{
	defaultEntrypoint, "root", "do", "set_delegate", "remove_delegate", "deposit",
	"stake", "unstake", "finalize_unstake", "set_delegate_parameters",
}

// entrypoint reads an entrypoint: its tag, or its name if it has no tag.
func (r *reader) entrypoint() string {
	const byName = 0xff
	at := r.pos
	tag := r.byte("entrypoint")
	if int(tag) < len(builtinEntrypoints) {
		return builtinEntrypoints[tag]
	}
	if tag != byName {
		r.fail(at, "entrypoint has unknown tag 0x%02x", tag)
	}
	at = r.pos
	n := int(r.byte("entrypoint"))
	name := string(r.bytes(n, "entrypoint"))
	switch {
	case n == 0 || n > maxEntrypoint:
		r.fail(at, "entrypoint has %d bytes, not 1 to %d", n, maxEntrypoint)
	case slices.Contains(builtinEntrypoints[:], name):
		r.fail(at, "entrypoint is given by name, but has a tag")
	}
	return name
}

// origination reads a new contract. It does not look into the code and the storage.
func (r *reader) origination(c *Content) {
	c.Amount = r.natural("balance", maxMutez)
	if r.flag("delegate") {
		r.pkh("delegate")
	}
	r.dynamic("code")
	r.dynamic("storage")
}

func (r *reader) delegation(*Content) {
	if r.flag("delegate") {
		r.pkh("delegate")
	}
}

func (r *reader) globalConstant(*Content) { r.dynamic("value") }

func (r *reader) depositsLimit(*Content) {
	if r.flag("limit") {
		r.natural("limit", maxMutez)
	}
}

// paidStorage reads an amount of bytes, which must be positive, and a smart contract.
func (r *reader) paidStorage(c *Content) {
	at := r.pos
	if r.integer("amount") <= 0 {
		r.fail(at, "amount is not positive")
	}
	c.Destination = contractAddress(r.originated("destination"))
}

func (r *reader) consensusKey(*Content) {
	at := r.pos
	kind := r.publicKey().Kind()
	if kind == MLDSA44 {
		r.fail(at, "public key is of a tz5 key")
	}
	r.proof(kind)
}

func (r *reader) companionKey(*Content) {
	at := r.pos
	kind := r.publicKey().Kind()
	if kind != BLS12381 {
		r.fail(at, "public key is not of a tz4 key")
	}
	r.proof(kind)
}

// transferTicket reads a ticket. Its amount is not in tez, so Content.Amount stays 0.
func (r *reader) transferTicket(c *Content) {
	r.dynamic("ticket contents")
	r.dynamic("ticket type")
	r.contract("ticketer")
	at := r.pos
	if r.bigNatural("amount") {
		r.fail(at, "amount is zero")
	}
	c.Destination = contractAddress(r.contract("destination"))
	at = r.pos
	entrypoint := r.dynamic("entrypoint")
	if n := len(entrypoint); n == 0 || n > maxEntrypoint {
		r.fail(at, "entrypoint has %d bytes, not 1 to %d", n, maxEntrypoint)
	}
	c.Entrypoint = string(entrypoint)
}

// dalPublishCommitment reads a slot index, a commitment and its proof
// (dal_operations_repr.ml).
func (r *reader) dalPublishCommitment(*Content) {
	r.byte("slot index")
	r.bytes(48, "commitment")
	r.bytes(96, "commitment proof")
}
