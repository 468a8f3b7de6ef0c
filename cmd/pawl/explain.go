package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"pawl/internal/config"
	"pawl/tezos"
)

type explainCmd struct {
	Hex    string `arg:"" help:"The payload as the signer gets it, in hex: magic byte first."`
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
	payload, err := hex.DecodeString(strings.TrimSpace(c.Hex))
	if err != nil {
		return fmt.Errorf("the payload is not hex: %w", err)
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
		return err
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

// describe prints the kind of the request and what it holds.
func describe(lines *table, req tezos.Request) {
	switch req := req.(type) {
	case tezos.Consensus:
		lines.row("kind", "%v", req.Kind)
		lines.row("chain", "%v", req.ChainID)
		lines.row("level", "%d", req.Level)
		lines.row("round", "%d", req.Round)
		if req.Kind == tezos.Attestation {
			lines.row("dal", "%v", req.DAL)
		}
		if req.Kind == tezos.Block {
			lines.row("liquidity baking", "%v", req.LiquidityBaking)
		}
	case tezos.Operation:
		lines.row("kind", "operation")
		for i, content := range req.Contents {
			lines.row(fmt.Sprintf("content %d", i+1), "%s", describeContent(content))
		}
	case tezos.Michelson:
		lines.row("kind", "packed Michelson data")
	}
}

// describeContent prints one content on a line. Amounts are in mutez, a millionth of a tez.
func describeContent(c tezos.Content) string {
	text := string(c.Kind)
	if c.Source != (tezos.PublicKeyHash{}) {
		text += " from " + c.Source.String()
	}
	if c.Destination != "" {
		text += " to " + c.Destination
	}
	if c.Amount != 0 || c.Kind == tezos.OpTransaction {
		text += fmt.Sprintf(", %d mutez", c.Amount)
	}
	if c.Kind == tezos.OpBallot {
		return text + ", " + c.Ballot.String()
	}
	if c.Fee != 0 {
		text += fmt.Sprintf(", fee %d mutez", c.Fee)
	}
	return text
}
