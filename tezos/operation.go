package tezos

import "bytes"

// Content is one operation of a payload under magic byte 0x03.
type Content struct {
	Kind        OperationKind
	Source      PublicKeyHash // the consensus key for drain_delegate; zero for failing_noop
	Destination string        // in base58; "" for kinds without one
	Amount      uint64        // in mutez, of a transaction or origination; otherwise 0
	Fee         uint64        // in mutez; 0 for kinds without one
	Entrypoint  string        // of a call or a ticket's destination, as it stands in the payload; otherwise ""
	Parameters  int           // of a call: bytes of its parameters
	Period      int32         // of proposals and ballots
	Ballot      Ballot        // only for kind "ballot"
}

const (
	branchSize = 32

	// maxOperation is the longest payload in bytes. On the wire an operation has at
	// most 32 KiB (operation_repr.ml, max_operation_data_length), with a signature
	// of 64 bytes and without a magic byte.
	maxOperation = 32*1024 - signatureSize + 1
	// The first bytes of a longer signature are a content of their own, with two
	// further bytes (operation_repr.ml, signature_prefix). These are the sizes of it.
	signaturePrefixTZ4 = 2 + 96 - signatureSize
	signaturePrefixTZ5 = 2 + 2420 - signatureSize
)

// parseOperation reads a payload under magic byte 0x03: a branch, and then a single
// content or a batch.
func parseOperation(p []byte, key PublicKeyHash) (Operation, *ParseError) {
	if limit := operationLimit(key.Kind()); len(p) > limit {
		return Operation{}, malformed(limit, "operation of %d bytes is over %d", len(p), limit)
	}
	r := reader{buf: p, pos: 1, end: len(p), in: "operation"}
	r.bytes(branchSize, "branch")
	at := r.pos
	tag := r.byte("tag")
	parse, ok := singleBodies[tag]
	if !ok {
		r.pos = at
		contents := r.batch(key)
		return Operation{contents}, r.err
	}
	r.in = string(parse.kind)
	content := Content{Kind: parse.kind}
	parse.body(&r, key, &content)
	r.finish()
	return Operation{[]Content{content}}, r.err
}

func operationLimit(key KeyKind) int {
	switch key {
	case BLS12381:
		return maxOperation - signaturePrefixTZ4
	case MLDSA44:
		return maxOperation - signaturePrefixTZ5
	case Ed25519, Secp256k1, P256:
	}
	return maxOperation
}

// singleBodies holds the contents that cannot be in a batch, by tag (operation_repr.ml).
var singleBodies = map[byte]struct {
	kind OperationKind
	body func(*reader, PublicKeyHash, *Content)
}{
	0x05: {OpProposals, (*reader).proposals},
	0x06: {OpBallot, (*reader).ballot},
	0x09: {OpDrainDelegate, (*reader).drainDelegate},
	0x11: {OpFailingNoop, (*reader).failingNoop},
}

// own reads the source, which must be the key. For a tz4 key any tz4 address will do: the
// key may be a member's share of a group's account, which has another address
// (src/lib_signer_services, bls_prove_possession with override_pk).
func (r *reader) own(what string, key PublicKeyHash) PublicKeyHash {
	at := r.pos
	source := r.pkh(what)
	same := source == key
	if key.Kind() == BLS12381 {
		same = source.Kind() == BLS12381
	}
	if !same {
		r.fail(at, "%s is not the key that is asked to sign", what)
	}
	return source
}

// proposals reads a list of 1 to 20 protocol hashes, as the node demands
// (operation_repr.ml, proposals_case).
func (r *reader) proposals(key PublicKeyHash, c *Content) {
	const hash, most = 32, 20
	c.Source = r.own("source", key)
	c.Period = r.natural32("period")
	at := r.pos
	hashes := r.dynamic("list")
	if n := len(hashes); n == 0 || n%hash != 0 || n > most*hash {
		r.fail(at, "list has %d bytes, not one to %d hashes of %d", n, most, hash)
	}
}

func (r *reader) ballot(key PublicKeyHash, c *Content) {
	c.Source = r.own("source", key)
	c.Period = r.natural32("period")
	r.bytes(32, "proposal")
	at := r.pos
	c.Ballot = Ballot(r.byte("vote"))
	if c.Ballot > Pass {
		r.fail(at, "vote 0x%02x is not yay, nay or pass", byte(c.Ballot))
	}
}

// drainDelegate reads an operation that the consensus key signs, its first field. The
// node has the same rules for the other two fields (validate.ml, drain_delegate).
func (r *reader) drainDelegate(key PublicKeyHash, c *Content) {
	c.Source = r.own("consensus key", key)
	at := r.pos
	delegate := r.pkh("delegate")
	if delegate == c.Source {
		r.fail(at, "delegate is its own consensus key")
	}
	at = r.pos
	destination := r.pkh("destination")
	if destination == delegate {
		r.fail(at, "destination is the delegate")
	}
	c.Destination = destination.String()
}

// failingNoop reads a signed message. Any key may sign it, and it is valid on no chain.
func (r *reader) failingNoop(PublicKeyHash, *Content) { r.dynamic("message") }

func (r *reader) pkh(what string) PublicKeyHash {
	at := r.pos
	var h PublicKeyHash
	copy(h[:], r.bytes(len(h), what))
	if !h.valid() {
		r.fail(at, "%s has unknown tag 0x%02x", what, h[0])
	}
	return h
}

// contractSize is the length of an account's binary form in bytes (contract_repr.ml).
const contractSize = 22

// contract reads an account: 00 and a public key hash, or a smart contract.
func (r *reader) contract(what string) [contractSize]byte {
	var c [contractSize]byte
	if r.more() && r.buf[r.pos] == 0x01 {
		return r.originated(what)
	}
	at := r.pos
	if tag := r.byte(what); tag != 0x00 {
		r.fail(at, "%s has unknown tag 0x%02x", what, tag)
	}
	h := r.pkh(what)
	copy(c[1:], h[:])
	return c
}

// originated reads a smart contract: 01, its hash and a byte of padding.
func (r *reader) originated(what string) [contractSize]byte {
	var c [contractSize]byte
	at := r.pos
	copy(c[:], r.bytes(contractSize, what))
	if r.err == nil && c[0] != 0x01 {
		r.fail(at, "%s has tag 0x%02x, want that of a smart contract", what, c[0])
	}
	if padding := c[contractSize-1]; padding != 0 {
		r.fail(at+contractSize-1, "%s has padding 0x%02x, want 00", what, padding)
	}
	return c
}

func contractAddress(c [contractSize]byte) string {
	if c[0] == 0x01 {
		return contractPrefix.encode(c[1 : 1+pkhSize])
	}
	return PublicKeyHash(c[1:]).String()
}

// holds reports whether account c belongs to the key.
func holds(c [contractSize]byte, key PublicKeyHash) bool {
	return c[0] == 0x00 && bytes.Equal(c[1:], key[:])
}
