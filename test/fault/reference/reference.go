// Package reference reads consensus payloads once more, to be compared with what pawl
// reads. It knows no offset: they stand in offsets.txt, and it shares no package of
// pawl's. It is slow, and says yes or no without a reason.
package reference

import (
	"bytes"
	"encoding/binary"
	"math/big"
	"slices"
)

// Mark is what a consensus payload is signed for. The kind is its magic byte.
type Mark struct {
	Kind         byte
	Chain        [4]byte
	Level, Round int32
}

// Parse finds the layout of a payload that a key is asked to sign, by the first three
// letters of the key's address. No two layouts have a payload in common.
func (t Table) Parse(payload []byte, key string) (Mark, Layout, bool) {
	for _, l := range t {
		if mark, ok := l.parse(payload, key); ok {
			return mark, l, true
		}
	}
	return Mark{}, Layout{}, false
}

func (l Layout) parse(payload []byte, key string) (Mark, bool) {
	if !slices.Contains(l.keys, key) || len(payload) < l.shortest || len(payload) > l.longest {
		return Mark{}, false
	}
	mark := Mark{Kind: payload[0], Level: -1, Round: -1}
	for _, f := range l.fields {
		if !f.read(payload, &mark) {
			return Mark{}, false
		}
	}
	for _, f := range l.fields { // the round comes after what must be below it
		if f.what == "below-round" && int32At(payload, f.at) >= mark.Round {
			return Mark{}, false
		}
	}
	return mark, true
}

// read checks one field, and fills in the part of the mark that it is.
func (f field) read(payload []byte, mark *Mark) bool {
	if f.what == "bytes" {
		return bytes.HasPrefix(payload[f.at:], f.bytes)
	}
	if f.what == "number" {
		return isNatural(payload[f.at:])
	}
	n := int32At(payload, f.at)
	switch f.what {
	case "chain":
		copy(mark.Chain[:], payload[f.at:])
		return true
	case "negative":
		return n < 0
	case "level":
		same := mark.Level == -1 || mark.Level == n
		mark.Level = n
		return same && n >= 0
	case "round":
		mark.Round = n
	}
	return n >= 0
}

func int32At(payload []byte, at int) int32 {
	return int32(binary.BigEndian.Uint32(payload[at:])) //nolint:gosec // two's complement is meant
}

// isNatural reports whether a Z is what its value is written as.
func isNatural(z []byte) bool {
	value := new(big.Int)
	for i := len(z) - 1; i > 0; i-- {
		value.Lsh(value, 7).Or(value, big.NewInt(int64(z[i]&0x7f)))
	}
	value.Lsh(value, 6).Or(value, big.NewInt(int64(z[0]&0x3f)))
	return bytes.Equal(z, encodeNatural(value))
}

// encodeNatural writes a Z that is not negative: 6 bits, a sign bit of 0 and a bit that
// says whether more follows, then groups of 7 (data-encoding, binary_writer.ml).
func encodeNatural(value *big.Int) []byte {
	var z []byte
	for width := uint(6); ; width = 7 {
		group := new(big.Int).And(value, big.NewInt(1<<width-1)).FillBytes(make([]byte, 1))
		value = new(big.Int).Rsh(value, width)
		if value.Sign() == 0 {
			return append(z, group[0])
		}
		z = append(z, group[0]|0x80)
	}
}
