package tezos

// This file reads block headers, preattestations and attestations.

import "encoding/binary"

// Offsets of the fixed fields of a block header, counted from the magic byte
// (src/lib_base/block_header.ml, shell_header_encoding; block_header_repr.ml).
const (
	chainIDAt     = 1
	blockLevelAt  = 5
	fitnessSizeAt = 83
	fitnessAt     = 87

	// The fitness has five elements: version, level, locked round or nothing,
	// predecessor round, round. Each is a length of 4 bytes and as many bytes
	// (fitness_repr.ml).
	fitnessSize       = 33
	lockedFitnessSize = fitnessSize + 4
	fitnessVersion    = 2

	// Between the fitness and the seed-nonce flag are the context hash, the payload
	// hash, the payload round and the proof-of-work nonce.
	fitnessToFlag = 32 + 32 + 4 + 8
	seedNonceHash = 32

	liquidityBakingBits = 0x03
)

// int32At reads a big-endian two's complement number.
func int32At(p []byte, at int) int32 {
	return int32(p[at])<<24 | int32(p[at+1])<<16 | int32(p[at+2])<<8 | int32(p[at+3])
}

func errConsensusKey(kind KeyKind) *ParseError {
	return malformed(0, "a %s key takes no part in consensus", kind)
}

// parseBlock reads an unsigned block header. It does not check the payload round, the
// proof-of-work nonce, the validation passes and the rest of the votes byte.
func parseBlock(p []byte, key KeyKind) (Consensus, *ParseError) {
	if key == MLDSA44 {
		return Consensus{}, errConsensusKey(key)
	}
	fitness, err := blockFitness(p)
	if err != nil {
		return Consensus{}, err
	}
	level := int32At(p, blockLevelAt)
	if level < 0 {
		return Consensus{}, malformed(blockLevelAt, "block level %d is negative", level)
	}
	round, err := parseFitness(fitness, level)
	if err != nil {
		return Consensus{}, err
	}
	return Consensus{
		Kind:            Block,
		ChainID:         ChainID(p[chainIDAt:blockLevelAt]),
		Level:           level,
		Round:           round,
		LiquidityBaking: LiquidityBakingVote(p[len(p)-1] & liquidityBakingBits),
	}, nil
}

// blockFitness returns the fitness of a block. The block's length must be that of one of
// the four known layouts: 198 bytes, 4 more with a locked round, 32 more with a
// seed-nonce hash.
func blockFitness(p []byte) ([]byte, *ParseError) {
	if len(p) < fitnessAt {
		return nil, malformed(len(p), "block of %d bytes is cut short", len(p))
	}
	size := fitnessSize
	switch binary.BigEndian.Uint32(p[fitnessSizeAt:]) {
	case fitnessSize:
	case lockedFitnessSize:
		size = lockedFitnessSize
	default:
		return nil, unknownLayout(fitnessSizeAt, p[0], len(p))
	}
	flagAt := fitnessAt + size + fitnessToFlag
	end := flagAt + 2 // the flag and the votes byte
	if len(p) < end {
		return nil, unknownLayout(len(p), p[0], len(p))
	}
	switch p[flagAt] {
	case flagAbsent:
	case flagPresent:
		end += seedNonceHash
	default:
		return nil, malformed(flagAt, "block seed-nonce flag 0x%02x is neither 00 nor ff", p[flagAt])
	}
	if len(p) != end {
		return nil, unknownLayout(min(len(p), end), p[0], len(p))
	}
	return p[fitnessAt : fitnessAt+size], nil
}

// parseFitness returns the round. The fitness must have one of the two known sizes.
func parseFitness(f []byte, level int32) (int32, *ParseError) {
	sizes := [...]int{1, 4, len(f) - fitnessSize, 4, 4}
	var at [len(sizes)]int // the offset of each element
	next := 0
	for i, want := range sizes {
		if size := binary.BigEndian.Uint32(f[next:]); int64(size) != int64(want) {
			return 0, malformed(fitnessAt+next, "block fitness element %d has %d bytes, want %d", i+1, size, want)
		}
		at[i] = next + 4
		next = at[i] + want
	}
	if version := f[at[0]]; version != fitnessVersion {
		return 0, malformed(fitnessAt+at[0], "block fitness has version %d, want %d", version, fitnessVersion)
	}
	if other := int32At(f, at[1]); other != level {
		return 0, malformed(fitnessAt+at[1], "block fitness level %d is not the header's level %d", other, level)
	}
	// Octez writes the predecessor round as -1-round.
	if predecessor := int32At(f, at[3]); predecessor >= 0 {
		return 0, malformed(fitnessAt+at[3], "block predecessor round %d is negative", -1-int64(predecessor))
	}
	round := int32At(f, at[4])
	if round < 0 {
		return 0, malformed(fitnessAt+at[4], "block round %d is negative", round)
	}
	if sizes[2] == 0 {
		return round, nil
	}
	if locked := int32At(f, at[2]); locked < 0 || locked >= round {
		return 0, malformed(fitnessAt+at[2], "block locked round %d is not from 0 to below round %d", locked, round)
	}
	return round, nil
}

// Offsets and sizes of preattestations and attestations. A tz4 key signs neither slot nor
// DAL content, so that signatures can be aggregated (operation_repr.ml,
// bls_mode_unsigned_encoding).
const (
	tagAt        = 37
	levelAt      = 40
	levelAtBLS   = 38
	attestation  = 80
	attestBLS    = 78
	maxDALNumber = 160 // bytes; Ushuaia's 160 slots in 5 lags need 133
)

// layout is one form of preattestation or attestation.
type layout struct {
	tag     byte
	kind    Kind
	bls     bool // signed by tz4 keys, otherwise by tz1, tz2 and tz3 keys
	dal     bool // a DAL number follows
	levelAt int  // the offset of the level, which the round follows
	size    int  // in bytes, without the DAL number
}

// The layouts of Seoul, Tallinn, Ushuaia and Alpha.
var layouts = [...]layout{
	{0x14, Preattestation, false, false, levelAt, attestation},
	{0x15, Attestation, false, false, levelAt, attestation},
	{0x17, Attestation, false, true, levelAt, attestation},
	{0x28, Preattestation, true, false, levelAtBLS, attestBLS},
	{0x29, Attestation, true, false, levelAtBLS, attestBLS},
}

// parseAttestation reads a preattestation or an attestation.
func parseAttestation(p []byte, key KeyKind) (Consensus, *ParseError) {
	l, err := findLayout(p, key)
	if err != nil {
		return Consensus{}, err
	}
	level, round := int32At(p, l.levelAt), int32At(p, l.levelAt+4)
	if level < 0 {
		return Consensus{}, malformed(l.levelAt, "%s level %d is negative", l.kind, level)
	}
	if round < 0 {
		return Consensus{}, malformed(l.levelAt+4, "%s round %d is negative", l.kind, round)
	}
	if l.dal {
		if err := checkDAL(p); err != nil {
			return Consensus{}, err
		}
	}
	return Consensus{
		Kind:    l.kind,
		ChainID: ChainID(p[chainIDAt : chainIDAt+4]),
		Level:   level,
		Round:   round,
		DAL:     l.dal,
	}, nil
}

// findLayout returns the layout of the tag. It fails unless the magic byte, the key and
// the length agree with it.
func findLayout(p []byte, key KeyKind) (layout, *ParseError) {
	kind := Kind(p[0])
	if key == MLDSA44 {
		return layout{}, errConsensusKey(key)
	}
	if len(p) <= tagAt {
		return layout{}, malformed(len(p), "%s of %d bytes is cut short", kind, len(p))
	}
	for _, l := range layouts {
		if l.tag != p[tagAt] {
			continue
		}
		if l.kind != kind {
			return layout{}, malformed(tagAt, "tag 0x%02x belongs to %s, not to %s", l.tag, l.kind, kind)
		}
		if l.bls != (key == BLS12381) {
			return layout{}, malformed(tagAt, "tag 0x%02x is not signed by a %s key", l.tag, key)
		}
		return l, l.checkSize(p)
	}
	return layout{}, unknownLayout(tagAt, p[tagAt], len(p))
}

func (l layout) checkSize(p []byte) *ParseError {
	shortest, longest := l.size, l.size
	if l.dal {
		shortest, longest = l.size+1, l.size+maxDALNumber
	}
	if len(p) < shortest || len(p) > longest {
		return unknownLayout(min(len(p), longest), l.tag, len(p))
	}
	return nil
}

// checkDAL checks that one number in canonical form fills the rest of the payload. It does
// not check the bits, which matter to no double-signing rule.
func checkDAL(p []byte) *ParseError {
	r := reader{buf: p, pos: attestation, end: len(p), in: "attestation"}
	if r.integer("DAL number") < 0 {
		r.fail(attestation, "DAL number is negative")
	}
	r.finish()
	return r.err
}
