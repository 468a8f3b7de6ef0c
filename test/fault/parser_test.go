package fault_test

import (
	"bytes"
	"encoding/hex"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/blake2b"

	"pawl/test/fault/reference"
	"pawl/tezos"
)

// partParser is the parser's share of the model's time.
var partParser = part{partModel.name, partModel.share / 4}

// keyOf returns a key for the first three letters of its address.
var keyOf = map[string]tezos.PublicKeyHash{
	"tz1": {byte(tezos.Ed25519)}, "tz2": {byte(tezos.Secp256k1)}, "tz3": {byte(tezos.P256)},
	"tz4": {byte(tezos.BLS12381)}, "tz5": {byte(tezos.MLDSA44)},
}

// addresses are the kinds of keys, in their order.
var addresses = slices.Sorted(maps.Keys(keyOf))

// consensusVector is a payload of tezos/testdata, good or bad, that begins as one of
// consensus does.
type consensusVector struct {
	name, address string
	payload       []byte
}

func consensusVectors(tb testing.TB) (vectors []consensusVector) {
	tb.Helper()
	files, err := filepath.Glob("../../tezos/testdata/*.txt")
	if err != nil {
		tb.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		head, body, _ := strings.Cut(string(text), "\n\n")
		payload, err := hex.DecodeString(strings.Join(strings.Fields(body), ""))
		if err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		_, address, _ := strings.Cut(head, "\nkey: ")
		if len(payload) > 0 && payload[0] >= byte(tezos.Block) && payload[0] <= byte(tezos.Attestation) {
			vectors = append(vectors, consensusVector{filepath.Base(file), address[:3], payload})
		}
	}
	if len(vectors) < 70 {
		tb.Fatalf("%d consensus vectors, want 70 or more", len(vectors))
	}
	return vectors
}

// comparison reads payloads with pawl and with the reference.
type comparison struct {
	table    reference.Table
	outcomes map[string]int
	layouts  map[string]int // of the accepted
}

func newComparison(tb testing.TB) *comparison {
	tb.Helper()
	table, err := reference.Load()
	if err != nil {
		tb.Fatal(err)
	}
	return &comparison{table: table, outcomes: make(map[string]int), layouts: make(map[string]int)}
}

// reading is what both make of a payload; ok is false when both refuse it.
type reading struct {
	mark   reference.Mark
	layout reference.Layout
	ok     bool
}

// read wants both to accept a payload as consensus, with the same mark, or neither.
func (c *comparison) read(tb testing.TB, payload []byte, address string) reading {
	tb.Helper()
	request, err := tezos.ParseRequest(payload, keyOf[address])
	got, accepted := request.(tezos.Consensus)
	mark, layout, ok := c.table.Parse(payload, address)
	mine := reference.Mark{Kind: byte(got.Kind), Chain: got.ChainID, Level: got.Level, Round: got.Round}
	if accepted != ok || mine != mark {
		tb.Errorf("%s key: pawl reads %+v (%v), the reference %+v (%t)\n%x", address, mine, err, mark, ok, payload)
	}
	if ok {
		c.layouts[layout.Name]++
	}
	return reading{mark, layout, ok}
}

// change compares a payload with one that differs at one place: another digest, and
// another mark if and only if the place is one of chain id, level or round.
func (c *comparison) change(tb testing.TB, before reading, payload, changed []byte, address string, inMark bool) {
	tb.Helper()
	after := c.read(tb, changed, address)
	switch {
	case !after.ok:
		c.outcomes["refused by both"]++
	case !before.ok:
		c.outcomes["accepted by both, once refused"]++
	case before.mark == after.mark:
		c.outcomes["the same mark, another digest"]++
	default:
		c.outcomes["another mark, another digest"]++
	}
	if before.ok && after.ok && inMark != (before.mark != after.mark) {
		tb.Errorf("%s key: mark %+v became %+v, want a change: %t\n%x\n%x", address, before.mark, after.mark, inMark, payload, changed)
	}
}

// flips changes each byte of a vector by each of flips, and those of numbers that are
// written twice alike. Both read it as asked of a key of each kind in addresses.
func (c *comparison) flips(tb testing.TB, v consensusVector, flips []byte, addresses ...string) {
	tb.Helper()
	digest := tezos.DigestOf(v.payload)
	var before []reading
	for _, address := range addresses {
		before = append(before, c.read(tb, v.payload, address))
	}
	for _, places := range placesOf(v.payload, before) {
		for _, flip := range flips {
			changed := bytes.Clone(v.payload)
			for _, at := range places {
				changed[at] ^= flip
			}
			for i, address := range addresses {
				c.change(tb, before[i], v.payload, changed, address, before[i].changedBy(places))
			}
			if got := tezos.DigestOf(changed); got == digest || got != blake2b.Sum256(changed) {
				tb.Errorf("the digest of %x is %s, that of %x is %s", changed, got, v.payload, digest)
			}
		}
	}
}

// placesOf is each byte, and the bytes of a mark that must be changed together.
func placesOf(payload []byte, readings []reading) (places [][]int) {
	for at := range payload {
		places = append(places, []int{at})
	}
	for _, r := range readings {
		for _, together := range marksBytes(r) {
			if len(together) > 1 {
				places = append(places, together)
			}
		}
	}
	return places
}

func marksBytes(r reading) [][]int {
	if !r.ok {
		return nil
	}
	return r.layout.MarkBytes()
}

// changedBy reports whether these bytes are of the mark.
func (r reading) changedBy(places []int) bool {
	return slices.ContainsFunc(marksBytes(r), func(mark []int) bool { return slices.Equal(mark, places) })
}

// The ways to change a byte: one bit, or anything.
var (
	bitFlips = []byte{1, 2, 4, 8, 16, 32, 64, 128}
	allFlips = func() (all []byte) {
		for flip := 1; flip < 256; flip++ {
			all = append(all, byte(flip))
		}
		return all
	}()
)

// TestParserAgainstReference changes every byte of every consensus vector, and then
// changes them in less orderly ways for as long as there is time.
func TestParserAgainstReference(t *testing.T) {
	t.Parallel()
	c, vectors, began := newComparison(t), consensusVectors(t), time.Now()
	for _, v := range vectors {
		c.flips(t, v, bitFlips, v.address)
	}
	for n := 0; n < len(vectors) && partParser.goesOn(began, n, 0); n++ {
		c.flips(t, vectors[n], allFlips, vectors[n].address)
	}
	if c.outcomes["the same mark, another digest"] == 0 || c.outcomes["another mark, another digest"] == 0 || len(c.layouts) != len(c.table) {
		t.Errorf("%v of layouts %v: want some with each mark, of each layout", c.outcomes, c.layouts)
	}
	c.report(t, "one byte of a consensus payload changed")
	random := partParser.random()
	for n := 0; !t.Failed() && partParser.goesOn(began, n, 20_000); n++ {
		payload, address := mutant(random, vectors)
		if c.read(t, payload, address).ok {
			c.outcomes["accepted by both"]++
		} else {
			c.outcomes["refused by both"]++
		}
	}
	c.report(t, "consensus payload cut, lengthened, spliced, changed")
}

// report tells the outcomes and begins to count anew.
func (c *comparison) report(t *testing.T, fault string) {
	t.Helper()
	for outcome, times := range c.outcomes {
		total.happenedTimes(partParser, fault, outcome, times)
	}
	t.Logf("%s: %v; accepted of layouts %v", fault, c.outcomes, c.layouts)
	clear(c.outcomes)
}

// mutant is a vector after one to three changes, and some key.
func mutant(random *rand.Rand, vectors []consensusVector) (payload []byte, address string) {
	v := vectors[random.IntN(len(vectors))]
	other := vectors[random.IntN(len(vectors))].payload
	payload, address = bytes.Clone(v.payload), v.address
	if random.IntN(4) == 0 {
		address = addresses[random.IntN(len(addresses))]
	}
	for range 1 + random.IntN(3) {
		payload = mutate(random, payload, other)
	}
	return payload, address
}

// mutate makes one change. What is written is often a number at its limits.
func mutate(random *rand.Rand, payload, other []byte) []byte {
	if len(payload) < 4 {
		return append(payload, other...)
	}
	at := random.IntN(len(payload) - 3)
	switch random.IntN(6) {
	case 0:
		return payload[:at]
	case 1:
		return append(payload, other[:random.IntN(len(other))]...)
	case 2:
		return append(payload[:at], other[min(at, len(other)):]...)
	case 3:
		return slices.Insert(payload, at, byte(random.IntN(256)))
	case 4:
		numbers := [][]byte{{0, 0, 0, 0}, {0x7f, 0xff, 0xff, 0xff}, {0x80, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 1}, {0, 0, 0, 0x21}, {0, 0, 0, 0x25}}
		copy(payload[at:], numbers[random.IntN(len(numbers))])
	default:
		payload[at+random.IntN(4)] = byte(random.IntN(256))
	}
	return payload
}

// TestParserEveryByteOfSmallPayloads gives every byte of the short vectors every value.
func TestParserEveryByteOfSmallPayloads(t *testing.T) {
	t.Parallel()
	c := newComparison(t)
	seen := make(map[string]bool)
	for _, v := range consensusVectors(t) {
		// A layout is read as well once as thrice.
		if _, l, ok := c.table.Parse(v.payload, v.address); ok && len(v.payload) <= 81 && !seen[l.Name] {
			seen[l.Name] = true
			c.flips(t, v, allFlips, v.address)
		}
	}
	if len(seen) != 5 {
		t.Errorf("small vectors of layouts %v, want five", seen)
	}
	c.report(t, "one byte of a small consensus payload given every value")
}

// FuzzParserAgainstReference looks for a payload of which the two do not make the same.
func FuzzParserAgainstReference(f *testing.F) {
	c := newComparison(f)
	for _, v := range consensusVectors(f) {
		f.Add(v.payload, uint8(slices.Index(addresses, v.address)))
	}
	f.Fuzz(func(t *testing.T, payload []byte, key uint8) {
		c := &comparison{table: c.table, layouts: make(map[string]int)}
		c.read(t, payload, addresses[int(key)%len(addresses)])
	})
}

// TestParserComparisonSees: a reference that reads a round a byte too late, or takes a longer
// payload, differs from pawl somewhere among the vectors.
func TestParserComparisonSees(t *testing.T) {
	t.Parallel()
	for _, change := range []struct{ from, to string }{
		{"round 44", "round 43"},
		{"level 96", "bytes 96 00"},
		{"below-round 104", "chain 1"},
		{"number 80", "chain 1"},
		{"negative 108", "chain 1"},
		{"length 81 240", "length 81 241"},
	} {
		table, err := reference.LoadWith(change.from, change.to)
		if err != nil {
			t.Fatal(err)
		}
		c := &comparison{table: table, layouts: make(map[string]int)}
		seen := &seen{TB: t}
		for _, v := range consensusVectors(t) {
			_ = c.read(seen, v.payload, v.address)
		}
		if seen.errors == 0 {
			t.Errorf("%q in place of %q is not seen", change.to, change.from)
		}
	}
}

// seen counts errors in place of failing.
type seen struct {
	testing.TB
	errors int
}

func (s *seen) Helper()               {}
func (s *seen) Errorf(string, ...any) { s.errors++ }
