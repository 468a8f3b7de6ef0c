package tezos

// This file holds the prefixes of the text forms, and their base58check encoding.

import (
	"errors"
	"fmt"
	"strings"

	"blockwatch.cc/tzgo/base58"
)

// prefix is one kind of base58check text (src/lib_crypto/base58.ml, Prefix).
type prefix struct {
	text  string // what the text begins with
	magic string // the bytes before the payload, which make the text begin so
	size  int    // of the payload, in bytes
	chars int    // of the text, in characters
}

// The prefixes that this package reads or writes.
var (
	pkhPrefixes = [...]prefix{
		Ed25519:   {"tz1", "\x06\xa1\x9f", 20, 36},
		Secp256k1: {"tz2", "\x06\xa1\xa1", 20, 36},
		P256:      {"tz3", "\x06\xa1\xa4", 20, 36},
		BLS12381:  {"tz4", "\x06\xa1\xa6", 20, 36},
		MLDSA44:   {"tz5", "\x06\xa1\xa9", 20, 36},
	}
	publicKeyPrefixes = [...]prefix{
		Ed25519:   {"edpk", "\x0d\x0f\x25\xd9", 32, 54},
		Secp256k1: {"sppk", "\x03\xfe\xe2\x56", 33, 55},
		P256:      {"p2pk", "\x03\xb2\x8b\x7f", 33, 55},
		BLS12381:  {"BLpk", "\x06\x95\x87\xcc", 48, 76},
	}
	signaturePrefixes = [...]prefix{
		Ed25519:   {"edsig", "\x09\xf5\xcd\x86\x12", 64, 99},
		Secp256k1: {"spsig1", "\x0d\x73\x65\x13\x3f", 64, 99},
		P256:      {"p2sig", "\x36\xf0\x2c\x34", 64, 98},
		BLS12381:  {"BLsig", "\x28\xab\x40\xcf", 96, 142},
	}
	genericSignaturePrefix = prefix{"sig", "\x04\x82\x2b", 64, 96}
	chainIDPrefix          = prefix{"Net", "\x57\x52\x00", 4, 15}
	contractPrefix         = prefix{"KT1", "\x02\x5a\x79", 20, 36}
	payloadHashPrefix      = prefix{"vh", "\x01\x6a\xf2", 32, 52}
)

var errBase58 = errors.New("not base58check: mistyped or cut short")

// findPrefix returns the index of the prefix that s starts with.
func findPrefix(prefixes []prefix, s string) (int, bool) {
	for i, p := range prefixes {
		if strings.HasPrefix(s, p.text) {
			return i, true
		}
	}
	return 0, false
}

func (p prefix) encode(raw []byte) string {
	return base58.CheckEncode(raw, []byte(p.magic))
}

// decode accepts exactly the texts that encode writes. Its errors never quote s, which
// may be a secret key by mistake.
func (p prefix) decode(s string) ([]byte, error) {
	if len(s) != p.chars {
		return nil, fmt.Errorf("%s… has %d characters, want %d", p.text, len(s), p.chars)
	}
	raw, magic, err := base58.CheckDecode(s, len(p.magic), nil)
	if err != nil || string(magic) != p.magic || len(raw) != p.size {
		return nil, errBase58
	}
	// The decoder mistakes some characters beyond ASCII for base58 digits.
	if p.encode(raw) != s {
		return nil, errBase58
	}
	return raw, nil
}
