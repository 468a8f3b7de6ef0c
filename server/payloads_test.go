package server_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"pawl/tezos"
)

// quoted returns payload as octez-client sends it.
func quoted(payload []byte) string { return `"` + hex.EncodeToString(payload) + "\"\n" }

// attestation returns a payload for a tz1, tz2 or tz3 key on mainnet. Another salt gives other
// bytes for the same slot.
func attestation(level, round int32, salt byte) []byte {
	p := append([]byte{0x13, 0x7a, 0x06, 0xa7, 0x70}, make([]byte, 32)...)
	p = append(p, 0x15, 0, 7)
	p = binary.BigEndian.AppendUint32(p, uint32(level))
	p = binary.BigEndian.AppendUint32(p, uint32(round))
	return append(p, bytes.Repeat([]byte{salt}, 32)...)
}

// noop returns a failing_noop operation (octez-client sign message) of size bytes.
func noop(size int) []byte {
	p := append([]byte{0x03}, make([]byte, 32)...)
	p = append(p, 0x11)
	p = binary.BigEndian.AppendUint32(p, uint32(size-38))
	return append(p, bytes.Repeat([]byte{'m'}, size-38)...)
}

// transaction returns a payment of source to itself.
func transaction(t *testing.T, source tezos.PublicKeyHash) []byte {
	t.Helper()
	// octez tezt/tests/expected/encoding.ml/U025 operation.unsigned.out
	p := unhex(t, "030e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a86c0002298c03ed7d454a101eb7022bc95f7e5f41ac7821dc05edecc004adcacdb7d4019703000002298c03ed7d454a101eb7022bc95f7e5f41ac7800")
	copy(p[34:], source[:])
	return p
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// preattestation returns an attestation with the magic byte and the tag of a preattestation.
func preattestation(level, round int32) []byte {
	p := attestation(level, round, 1)
	p[0], p[37] = 0x12, 0x14
	return p
}

// block returns step 1 of the watermark scenario.
func block(t *testing.T) []byte {
	t.Helper()
	return unhex(t, scenario(t)[0].Hex)
}
