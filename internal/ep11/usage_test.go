package ep11_test

import (
	"slices"
	"testing"

	"pawl/internal/ep11"
)

// The attributes of published blobs, and bits that they do not have.
func TestUsageAndOrigin(t *testing.T) {
	t.Parallel()
	for attributes, want := range map[uint64]struct {
		usage, traits  []string
		born, neverOut bool
	}{
		0x400126: {[]string{"sign"}, []string{"never extractable", "modifiable", "local", "protected-key never extractable"}, true, true},
		0x400125: {[]string{"sign"}, []string{"extractable", "modifiable", "local", "protected-key never extractable"}, true, false},
		0x104:    {[]string{"sign"}, []string{"modifiable"}, false, false},
		0x9d85: {
			[]string{"use as data", "sign", "decrypt", "encrypt", "derive", "verify"},
			[]string{"extractable", "modifiable"},
			false, false,
		},
		0x106:   {[]string{"sign"}, []string{"never extractable", "modifiable"}, false, false},
		0:       {nil, nil, false, false},
		1 << 40: {nil, []string{"unknown 0x10000000000"}, false, false},
	} {
		header := ep11.Header{Attributes: attributes}
		if got := header.Usage(); !slices.Equal(got, want.usage) {
			t.Errorf("0x%x: usage %q, want %q", attributes, got, want.usage)
		}
		if got := header.Traits(); !slices.Equal(got, want.traits) {
			t.Errorf("0x%x: traits %q, want %q", attributes, got, want.traits)
		}
		if header.BornInHSM() != want.born || header.NeverLeft() != want.neverOut {
			t.Errorf("0x%x: born in the HSM %t, never left %t", attributes, header.BornInHSM(), header.NeverLeft())
		}
	}
}

// Each bit has one name, and no two have the same.
func TestEachBitHasAName(t *testing.T) {
	t.Parallel()
	seen := make(map[string]int)
	for bit := range 23 {
		header := ep11.Header{Attributes: 1 << bit}
		names := append(header.Usage(), header.Traits()...)
		if len(names) != 1 {
			t.Fatalf("bit %d: %q", bit, names)
		}
		if other, double := seen[names[0]]; double || names[0] == "" {
			t.Errorf("bits %d and %d are both %q", bit, other, names[0])
		}
		seen[names[0]] = bit
	}
	if _, ok := seen["unknown 0x100000"]; !ok || len(seen) != 23 { // ep11.h has no bit 20
		t.Errorf("names %v", seen)
	}
}
