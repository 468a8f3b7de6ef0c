package tezos_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pawl/tezos"
)

const (
	tz1Key = "tz1KqTpEZ7Yob7QbPE4Hy4Wo8fHG8LhKxZSx"
	tz4Key = "tz4EECtMxAuJ9UDLaiMZH7G1GCFYUWsj8HZn"
	tz5Key = "tz5gNJ1oD2zGxq9bgHHezToUr8WWA7DBXPFA"
)

func parseHash(tb testing.TB, s string) tezos.PublicKeyHash {
	tb.Helper()
	h, err := tezos.ParsePublicKeyHash(s)
	if err != nil {
		tb.Fatalf("%s: %v", s, err)
	}
	return h
}

// wantRefusal returns the error of a payload that must be refused for reason.
func wantRefusal(t *testing.T, payload []byte, key tezos.PublicKeyHash, reason string) {
	t.Helper()
	request, err := tezos.ParseRequest(payload, key)
	if request != nil || err == nil {
		t.Fatalf("gives %#v, error %v; want %q", request, err, reason)
	}
	if want := "malformed payload: " + reason; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestMagicBytes(t *testing.T) {
	t.Parallel()
	known := []int{0x01, 0x02, 0x03, 0x04, 0x05, 0x11, 0x12, 0x13}
	key := parseHash(t, tz1Key)
	for magic := range 256 {
		if slices.Contains(known, magic) {
			continue
		}
		payload := append([]byte{byte(magic)}, make([]byte, 79)...)
		wantRefusal(t, payload, key, fmt.Sprintf("unknown magic byte 0x%02x (offset 0)", magic))
	}
}

// Every tag that begins no signable content is refused by name or as unknown, both alone
// and in a batch.
func TestTagsNobodySigns(t *testing.T) {
	t.Parallel()
	names := map[int]string{
		0x01: "seed_nonce_revelation is never signed",
		0x02: "double_consensus_operation_evidence is never signed",
		0x03: "double_baking_evidence is never signed",
		0x04: "activate_account is never signed",
		0x08: "vdf_revelation is never signed",
		0x14: "preattestation is signed under magic byte 0x12 only",
		0x15: "attestation is signed under magic byte 0x13 only",
		0x17: "attestation_with_dal is signed under magic byte 0x13 only",
		0x18: "dal_entrapment_evidence is never signed",
		0x1e: "preattestations_aggregate is never signed",
		0x1f: "attestations_aggregate is never signed",
		0x28: "preattestation of a tz4 key is signed under magic byte 0x12 only",
		0x29: "attestation of a tz4 key is signed under magic byte 0x13 only",
		0xfa: "zk_rollup_origination is not supported",
		0xfb: "zk_rollup_publish is not supported",
		0xfc: "zk_rollup_update is not supported",
		0xff: "signature_prefix is never signed",
	}
	signable := []int{
		0x05, 0x06, 0x09, 0x11, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71, 0x72, 0x73, 0x9e,
		0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf, 0xe6,
	}
	first := readVector(t, "testdata/octez-u025-delegation.txt")
	for tag := range 256 {
		if slices.Contains(signable, tag) {
			continue
		}
		want := fmt.Sprintf("operation tag 0x%02x is unknown (offset ", tag)
		if name, ok := names[tag]; ok {
			want = fmt.Sprintf("operation %s (tag 0x%02x) (offset ", name, tag)
		}
		alone := slices.Concat(first.payload[:33], []byte{byte(tag)}, make([]byte, 60))
		wantRefusal(t, alone, first.key(t), want+"33)")
		batch := slices.Concat(first.payload, []byte{byte(tag)}, make([]byte, 60))
		wantRefusal(t, batch, first.key(t), fmt.Sprintf("%s%d)", want, len(first.payload)))
	}
}

// noop returns a payload of exactly size bytes.
func noop(size int) []byte {
	p := make([]byte, size)
	p[0], p[33] = 0x03, 0x11
	binary.BigEndian.PutUint32(p[34:], uint32(size-38))
	return p
}

func TestLongestOperation(t *testing.T) {
	t.Parallel()
	for key, limit := range map[string]int{tz1Key: 32_705, tz4Key: 32_671, tz5Key: 30_347} {
		h := parseHash(t, key)
		if _, err := tezos.ParseRequest(noop(limit), h); err != nil {
			t.Errorf("%s: %d bytes: %v", key, limit, err)
		}
		want := fmt.Sprintf("operation of %d bytes is over %d (offset %d)", limit+1, limit, limit)
		wantRefusal(t, noop(limit+1), h, want)
	}
}

func TestDeepMichelson(t *testing.T) {
	t.Parallel()
	nest := func(depth int) []byte {
		p := []byte{0x05}
		for range depth {
			p = append(p, 0x05, 0x07) // a primitive with one argument
		}
		return append(p, 0x03, 0x0b)
	}
	key := parseHash(t, tz1Key)
	if _, err := tezos.ParseRequest(nest(9_999), key); err != nil {
		t.Errorf("10,000 deep: %v", err)
	}
	wantRefusal(t, nest(10_000), key, "Michelson value is nested deeper than 10000 (offset 20001)")
	lists := []byte{0x05}
	for i := range 11_000 {
		lists = append(lists, 0x02)
		lists = binary.BigEndian.AppendUint32(lists, uint32(5*(10_999-i)))
	}
	wantRefusal(t, lists, key, "Michelson value is nested deeper than 10000 (offset 50001)")
}

func TestKeyOfUnknownKind(t *testing.T) {
	t.Parallel()
	wantRefusal(t, noop(38), tezos.PublicKeyHash{5}, "the key asked to sign has unknown tag 0x05 (offset 0)")
}

// The round is that of the fitness. The payload round changes nothing.
func TestPayloadRoundIsCarried(t *testing.T) {
	t.Parallel()
	v := readVector(t, "testdata/calc-block-tz1-plain.txt")
	want, err := tezos.ParseRequest(v.payload, v.key(t))
	if err != nil {
		t.Fatal(err)
	}
	const payloadRoundAt = 151 + 33
	for _, round := range []uint32{0, 3, 4, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		binary.BigEndian.PutUint32(v.payload[payloadRoundAt:], round)
		got, err := tezos.ParseRequest(v.payload, v.key(t))
		if err != nil || got != want {
			t.Errorf("payload round %d: %+v, error %v; want %+v", round, got, err, want)
		}
	}
}

// Bits that a later protocol may use are accepted.
func TestFieldsCarried(t *testing.T) {
	t.Parallel()
	v := readVector(t, "testdata/calc-block-tz1-plain.txt")
	for name, at := range map[string]int{
		"proto level":       9,
		"timestamp":         42,
		"validation passes": 50,
		"proof of work":     188,
	} {
		for b := range 256 {
			p := slices.Clone(v.payload)
			p[at] = byte(b)
			if _, err := tezos.ParseRequest(p, v.key(t)); err != nil {
				t.Errorf("%s 0x%02x: %v", name, b, err)
			}
		}
	}
	for b := range 256 {
		v.payload[len(v.payload)-1] = byte(b)
		got, err := tezos.ParseRequest(v.payload, v.key(t))
		if err != nil {
			t.Fatalf("votes 0x%02x: %v", b, err)
		}
		if vote := got.(tezos.Consensus).LiquidityBaking; vote != tezos.LiquidityBakingVote(b%4) {
			t.Errorf("votes 0x%02x: liquidity baking %v", b, vote)
		}
	}
}

// An error may quote a tag, a length or a number of the payload, but no text.
func TestErrorsQuoteNoPayload(t *testing.T) {
	t.Parallel()
	key := parseHash(t, tz1Key)
	_, err := tezos.ParseRequest([]byte("\x05\x01\x00\x00\x00\x0fsecretsecret"), key)
	if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "736563") {
		t.Errorf("error %v", err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, kind := range tezos.OperationKinds() {
		if got, err := tezos.ParseOperationKind(string(kind)); err != nil || got != kind {
			t.Errorf("ParseOperationKind(%q) = %q, %v", kind, got, err)
		}
	}
	for _, s := range []string{
		"", "Transaction", "transactions", "attestation", "seed_nonce_revelation", "zk_rollup_publish",
	} {
		if got, err := tezos.ParseOperationKind(s); err == nil {
			t.Errorf("ParseOperationKind(%q) = %q", s, got)
		}
	}
	for _, b := range []tezos.Ballot{tezos.Yay, tezos.Nay, tezos.Pass} {
		if got, err := tezos.ParseBallot(b.String()); err != nil || got != b {
			t.Errorf("ParseBallot(%q) = %v, %v", b, got, err)
		}
	}
	for _, s := range []string{"", "aye", "Yay", "unknown"} {
		if got, err := tezos.ParseBallot(s); err == nil {
			t.Errorf("ParseBallot(%q) = %v", s, got)
		}
	}
	for want, got := range map[string]fmt.Stringer{
		"unknown": tezos.Kind(0), "reserved": tezos.LiquidityBakingVote(3), "on": tezos.LiquidityBakingOn,
		"off": tezos.LiquidityBakingOff, "pass": tezos.LiquidityBakingPass,
	} {
		if got.String() != want {
			t.Errorf("%T: %q, want %q", got, got, want)
		}
	}
	if got := tezos.Ballot(3).String(); got != "unknown" {
		t.Errorf("Ballot(3) = %q", got)
	}
}
