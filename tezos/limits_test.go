package tezos_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"pawl/tezos"
)

// parsesInTime ends the test if a payload is not read in a moment.
func parsesInTime(t *testing.T, payload []byte, key tezos.PublicKeyHash) (request tezos.Request, err error) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		request, err = tezos.ParseRequest(payload, key)
	}()
	select {
	case <-done:
		return request, err
	case <-time.After(20 * time.Second):
		t.Fatalf("a payload of %d bytes is not read in 20 s", len(payload))
		return nil, nil
	}
}

// TestMichelsonEnds: sequences are read to their end, nested ones too, and no deeper than the limit.
func TestMichelsonEnds(t *testing.T) {
	t.Parallel()
	key := parseHash(t, tz1Key)
	nested := func(depth int) []byte {
		p := []byte{0x05}
		for i := range depth {
			p = append(p, 0x02)
			p = binary.BigEndian.AppendUint32(p, uint32(5*(depth-1-i)))
		}
		return p
	}
	for name, test := range map[string]struct {
		payload []byte
		good    bool
	}{
		"sequence of two":       {[]byte{0x05, 0x02, 0, 0, 0, 4, 0x00, 0x01, 0x00, 0x02}, true},
		"sequence cut short":    {[]byte{0x05, 0x02, 0, 0, 0, 4, 0x00, 0x01, 0x00}, false},
		"10,000 sequences":      {nested(10_000), true},
		"10,001 sequences":      {nested(10_001), false},
		"last primitive":        {[]byte{0x05, 0x03, 0xa0}, true},
		"primitive after last":  {[]byte{0x05, 0x03, 0xa1}, false},
		"64":                    {[]byte{0x05, 0x00, 0x80, 0x01}, true},
		"-64":                   {[]byte{0x05, 0x00, 0xc0, 0x01}, true},
		"-1":                    {[]byte{0x05, 0x00, 0x41}, true},
		"minus zero":            {[]byte{0x05, 0x00, 0x40}, false},
		"number in a long form": {[]byte{0x05, 0x00, 0x81, 0x00}, false},
	} {
		if request, err := parsesInTime(t, test.payload, key); (err == nil) != test.good || (request != nil) != test.good {
			t.Errorf("%s: %v, %v; want it read: %v", name, request, err, test.good)
		}
	}
}

// managerPayload is an operation of one manager content: tag, source, fee, counter, gas and storage limits, body.
func managerPayload(tag byte, source tezos.PublicKeyHash, body ...[]byte) []byte {
	p := append([]byte{0x03}, make([]byte, 32)...)
	p = append(append(p, tag), source[:]...)
	return slices.Concat(append([][]byte{append(p, 1, 1, 1, 0)}, body...)...)
}

// TestPaidStorageOf64: an amount whose lowest bits are zero is not zero.
func TestPaidStorageOf64(t *testing.T) {
	t.Parallel()
	key := parseHash(t, tz1Key)
	contract := append([]byte{0x01}, make([]byte, 21)...)
	for name, test := range map[string]struct {
		amount []byte
		good   bool
	}{"1": {[]byte{0x01}, true}, "64": {[]byte{0x80, 0x01}, true}, "0": {[]byte{0x00}, false}, "-1": {[]byte{0x41}, false}} {
		if _, err := tezos.ParseRequest(managerPayload(0x71, key, test.amount, contract), key); (err == nil) != test.good {
			t.Errorf("%s: %v, want it read: %v", name, err, test.good)
		}
	}
}

// TestStakeIsToOneself: a call of a smart contract is no stake, also when the bytes of its address
// are those of the key.
func TestStakeIsToOneself(t *testing.T) {
	t.Parallel()
	key := tezos.PublicKeyHash{0, 1, 2, 3} // the last byte is that of a contract's padding
	call := []byte{0xff, 6, 0, 0, 0, 2, 0x03, 0x0b}
	other := tezos.PublicKeyHash{0, 1, 2, 4}
	for name, test := range map[string]struct {
		destination []byte
		want        tezos.OperationKind
	}{
		"the key":                       {append([]byte{0x00}, key[:]...), tezos.OpStake},
		"another key":                   {append([]byte{0x00}, other[:]...), tezos.OpTransaction},
		"a contract of the same number": {append([]byte{0x01}, key[:]...), tezos.OpTransaction},
	} {
		request, err := tezos.ParseRequest(managerPayload(0x6c, key, []byte{0}, test.destination, call), key)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := request.(tezos.Operation).Contents[0].Kind; got != test.want {
			t.Errorf("stake called at %s: %s, want %s", name, got, test.want)
		}
	}
}

// TestWhitelistLimit: the length field counts.
func TestWhitelistLimit(t *testing.T) {
	t.Parallel()
	key := parseHash(t, tz1Key)
	for keys, good := range map[int]bool{0: true, 194: true, 195: false} { // 4 + 21·194 = 4,078 of 4,094 bytes
		list := binary.BigEndian.AppendUint32(nil, uint32(21*keys))
		for range keys {
			list = append(list, key[:]...)
		}
		body := append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff}, list...)
		if _, err := parsesInTime(t, managerPayload(0xc8, key, body), key); (err == nil) != good {
			t.Errorf("%d keys: %v, want it read: %v", keys, err, good)
		}
	}
}

// TestMessagesEnd: a list of messages is read to its end, and is not empty.
func TestMessagesEnd(t *testing.T) {
	t.Parallel()
	key := parseHash(t, tz1Key)
	for name, test := range map[string]struct {
		body []byte
		good bool
	}{
		"two":       {[]byte{0, 0, 0, 9, 0, 0, 0, 1, 'm', 0, 0, 0, 0}, true},
		"none":      {[]byte{0, 0, 0, 0}, false},
		"cut short": {[]byte{0, 0, 0, 5, 0, 0, 0, 2, 'm'}, false},
	} {
		if _, err := parsesInTime(t, managerPayload(0xc9, key, test.body), key); (err == nil) != test.good {
			t.Errorf("%s: %v, want it read: %v", name, err, test.good)
		}
	}
}
