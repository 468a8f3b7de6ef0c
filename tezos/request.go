package tezos

import "errors"

// Kind is a kind of consensus message. Its value is the magic byte of its payloads.
type Kind uint8

// The consensus kinds (src/proto_*/lib_protocol/operation_repr.ml and
// block_header_repr.ml, to_watermark).
const (
	Block          Kind = 0x11
	Preattestation Kind = 0x12
	Attestation    Kind = 0x13 // with or without DAL content
)

// String returns "block", "preattestation" or "attestation".
func (k Kind) String() string {
	switch k {
	case Block:
		return "block"
	case Preattestation:
		return "preattestation"
	case Attestation:
		return "attestation"
	}
	return "unknown"
}

// Request is a parsed payload: [Consensus], [Operation] or [Michelson], and
// nothing else.
type Request interface{ isRequest() }

// Consensus is a block header, a preattestation or an attestation.
type Consensus struct {
	Kind            Kind
	ChainID         ChainID
	Level, Round    int32               // never negative; a block's round is that of its fitness
	DAL             bool                // an attestation has DAL content
	LiquidityBaking LiquidityBakingVote // of a block: bits 0–1 of the votes byte
}

// Operation holds the contents of a payload under magic byte 0x03, in their order.
// There is at least one. If there are several, all are manager operations of one
// source.
type Operation struct{ Contents []Content }

// Michelson stands for packed Michelson data: one well-formed Micheline value, whose
// content is not kept.
type Michelson struct{}

func (Consensus) isRequest() {}
func (Operation) isRequest() {}
func (Michelson) isRequest() {}

// LiquidityBakingVote is the liquidity-baking toggle vote of a block
// (per_block_votes_repr.ml).
type LiquidityBakingVote uint8

// The liquidity-baking votes. The value 3 is reserved.
const (
	LiquidityBakingOn LiquidityBakingVote = iota
	LiquidityBakingOff
	LiquidityBakingPass
)

// String returns "on", "off", "pass" or, for any other value, "reserved".
func (v LiquidityBakingVote) String() string {
	switch v {
	case LiquidityBakingOn:
		return "on"
	case LiquidityBakingOff:
		return "off"
	case LiquidityBakingPass:
		return "pass"
	}
	return "reserved"
}

// Ballot is a vote on a protocol proposal (vote_repr.ml).
type Ballot uint8

// The ballots.
const (
	Yay Ballot = iota
	Nay
	Pass
)

// String returns "yay", "nay" or "pass".
func (b Ballot) String() string {
	switch b {
	case Yay:
		return "yay"
	case Nay:
		return "nay"
	case Pass:
		return "pass"
	}
	return "unknown"
}

// ParseBallot reads "yay", "nay" or "pass".
func ParseBallot(s string) (Ballot, error) {
	for _, b := range []Ballot{Yay, Nay, Pass} {
		if s == b.String() {
			return b, nil
		}
	}
	return 0, errors.New("unknown ballot: want yay, nay or pass")
}

// Magic bytes that are not a [Kind] (src/lib_crypto/signature_v3.ml and
// src/lib_signer_services/signer_messages.ml).
const (
	magicOldBlock       = 0x01
	magicOldAttestation = 0x02
	magicOperation      = 0x03
	magicAuthentication = 0x04
	magicMichelson      = 0x05
)

// ParseRequest reads a whole payload, or returns an error. The rules depend on the key that
// is asked to sign: a tz4 key signs consensus layouts of its own, and the source of an
// operation must be the key. Every error is a [*ParseError], and the Request is then nil.
func ParseRequest(payload []byte, key PublicKeyHash) (Request, error) {
	if len(payload) == 0 {
		return nil, malformed(0, "it is empty")
	}
	if !key.valid() {
		return nil, malformed(0, "the key asked to sign has unknown tag 0x%02x", key[0])
	}
	switch magic := payload[0]; magic {
	case byte(Block):
		return sealed(parseBlock(payload, key.Kind()))
	case byte(Preattestation), byte(Attestation):
		return sealed(parseAttestation(payload, key.Kind()))
	case magicOperation:
		return sealed(parseOperation(payload, key))
	case magicMichelson:
		return sealed(Michelson{}, checkMichelson(payload))
	case magicOldBlock, magicOldAttestation:
		return nil, malformed(0, "magic byte 0x%02x belongs to consensus before Tenderbake and is never signed", magic)
	case magicAuthentication:
		return nil, malformed(0, "magic byte 0x04 belongs to signer authentication and is never signed on request")
	default:
		return nil, malformed(0, "unknown magic byte 0x%02x", magic)
	}
}

// sealed returns either a request or an error. It avoids partial results and typed nils.
func sealed[R Request](request R, err *ParseError) (Request, error) {
	if err != nil {
		return nil, err
	}
	return request, nil
}
