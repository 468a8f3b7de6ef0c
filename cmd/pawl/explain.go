package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"pawl/internal/config"
	"pawl/internal/durable"
	"pawl/tezos"
)

type explainCmd struct {
	Hex    string `arg:"" help:"The payload as the signer gets it, in hex: magic byte first. 0x, quotes and blanks do no harm; - reads it from the standard input."`
	Config string `placeholder:"FILE" help:"keys.json with the key: say what its policy and its ratchet would decide."`
	Key    string `placeholder:"PKH" help:"Hash of the key that would sign (default: the source in the payload, or any key that fits)."`
	Admin  string `default:"127.0.0.1:9732" placeholder:"ADDR" help:"Admin listener of a running daemon, asked while it holds the ratchet (default: ${default})."`
}

func (*explainCmd) Help() string {
	return helpText("Signs nothing and changes no mark. With --config it also names the policy line and the mark "+
		"that would decide.",
		"pawl explain 117a06a770… --config keys.json", exitCodes)
}

// Run prints what the payload is.
func (c *explainCmd) Run(ctx context.Context, s *streams) error {
	payload, err := c.payload(ctx)
	if err != nil {
		return err
	}
	var cfg *config.Config
	if c.Config != "" {
		if cfg, err = loadConfig(c.Config); err != nil {
			return err
		}
	}
	key, err := c.key(payload, cfg)
	if err != nil {
		return err
	}
	req, err := tezos.ParseRequest(payload, key)
	if err != nil {
		return withoutMagicByte(err, payload)
	}
	lines := table{out: s.out}
	describe(&lines, req)
	digest := tezos.DigestOf(payload)
	lines.row("digest", "%v", digest)
	if cfg != nil {
		c.decide(ctx, &lines, cfg, key, req, digest)
	}
	return lines.flush()
}

// maxHexSize bounds the payload on the standard input, in bytes: the hex of what a signer
// takes (64 KiB), with room for blanks.
const maxHexSize = 256 << 10

// payload reads the payload as people paste it: with 0x, quotes, and blanks at any place.
func (c *explainCmd) payload(ctx context.Context) ([]byte, error) {
	text := c.Hex
	if text == "-" {
		data, err := interruptible(ctx, func() ([]byte, error) {
			return readBounded(os.Stdin, maxHexSize, "standard input")
		})
		if err != nil {
			return nil, err
		}
		if data, err = durable.Text(data); err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		text = string(data)
	}
	if secret := tezos.SecretIn(text); secret != "" {
		return nil, fmt.Errorf("this is %s, not a payload", secret)
	}
	digits := strings.Trim(strings.Join(strings.Fields(text), ""), `"'`)
	if len(digits) >= 2 && strings.EqualFold(digits[:2], "0x") {
		digits = digits[2:]
	}
	payload, err := hex.DecodeString(digits)
	switch {
	case errors.Is(err, hex.ErrLength):
		return nil, withHint(fmt.Errorf("the payload has %d hex digits, which is an odd number", len(digits)),
			"a digit is missing: at the end, or the zero at the beginning (03, 05)")
	case err != nil:
		return nil, fmt.Errorf("the payload is not hex: %w", err)
	}
	return payload, nil
}

// withoutMagicByte adds to the error of a payload that a ballot or proposals begin with 03, and
// not with the tag that names them.
func withoutMagicByte(err error, payload []byte) error {
	const tagProposals, tagBallot = 0x05, 0x06 // operation_repr.ml, contents_cases
	if len(payload) > 0 && (payload[0] == tagProposals || payload[0] == tagBallot) {
		return withHint(err, "proposals (tag 05) and ballots (tag 06) are operations: magic byte 03, then the branch, "+
			"then the tag")
	}
	return err
}

// key returns the key to read the payload for: that of the flag, else the one in the payload,
// else the only key in cfg that fits.
func (c *explainCmd) key(payload []byte, cfg *config.Config) (tezos.PublicKeyHash, error) {
	if c.Key != "" {
		key, err := tezos.ParsePublicKeyHash(c.Key)
		if err != nil {
			return key, &usageError{text: fmt.Sprintf("--key %q: %v", c.Key, err)}
		}
		return key, nil
	}
	likely, named := likelyKey(payload)
	if named || cfg == nil {
		return likely, nil
	}
	var fit []tezos.PublicKeyHash
	for _, k := range cfg.Keys {
		if (k.PublicKey.Kind() == tezos.BLS12381) == (likely.Kind() == tezos.BLS12381) {
			fit = append(fit, k.PublicKey.Hash())
		}
	}
	if len(fit) != 1 {
		return likely, &usageError{text: fmt.Sprintf("%s has %d keys that may sign this payload: name one with --key",
			c.Config, len(fit))}
	}
	return fit[0], nil
}

// Offsets in payloads, from the encodings of Octez (operation_repr.ml): the
// tag of an operation under 0x03 stands behind the branch, that of a
// consensus operation behind chain id and branch.
const (
	operationTag = 1 + 32
	consensusTag = 1 + 4 + 32
)

const (
	magicOperation       = 0x03 // Octez src/lib_crypto/signature_v3.ml
	tagPreattestationTz4 = 0x28 // tz4 keys alone sign these two
	tagAttestationTz4    = 0x29
	tagFailingNoop       = 0x11 // has no source
)

// likelyKey returns the hash of a key that may sign the payload, and whether the payload names
// it (the source of an operation). Otherwise it is some tz4 for the consensus layout of tz4
// keys, and some tz1 for all others.
func likelyKey(payload []byte) (key tezos.PublicKeyHash, named bool) {
	if len(payload) == 0 {
		return key, false
	}
	switch tezos.Kind(payload[0]) { //nolint:exhaustive // a block says nothing of its key
	case tezos.Preattestation, tezos.Attestation:
		if len(payload) > consensusTag &&
			(payload[consensusTag] == tagPreattestationTz4 || payload[consensusTag] == tagAttestationTz4) {
			key[0] = byte(tezos.BLS12381)
		}
	case magicOperation:
		source := operationTag + 1
		if len(payload) >= source+len(key) && payload[operationTag] != tagFailingNoop {
			copy(key[:], payload[source:])
			return key, true
		}
	}
	return key, false
}
