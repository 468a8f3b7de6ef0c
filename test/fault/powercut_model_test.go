//go:build amd64

package fault_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestCutDisk cuts the power of a disk by hand: a replay is no better than its disk.
func TestCutDisk(t *testing.T) {
	t.Parallel()
	letters := func(file int, offset int64, letter string, n int) diskStep {
		return diskStep{kind: stepWrite, file: file, offset: offset, data: bytes.Repeat([]byte(letter), n)}
	}
	old := []diskStep{
		{kind: stepCreate, file: 0, name: "old"},
		letters(0, 0, "x", 1024),
		{kind: stepSync, file: 0},
		{kind: stepSyncNames},
	}
	overwritten := append(slices.Clone(old), letters(0, 256, "y", 512)) // the half of two sectors
	replaced := append(slices.Clone(old),
		diskStep{kind: stepUnlink, name: "old"},
		diskStep{kind: stepCreate, file: 1, name: "new"},
		letters(1, 0, "z", 512),
		diskStep{kind: stepSync, file: 1})
	cut := append(slices.Clone(old), diskStep{kind: stepTruncate, file: 0, offset: 512}, letters(0, 512, "y", 512))
	const whole = "old:x1024 "
	for _, test := range []struct {
		name   string
		steps  []diskStep
		strict bool
		fate   cutFate
		want   []string // every state that there may be
	}{
		{"nothing synced", old[:2], false, loseAll, []string{""}},
		{"nothing synced", old[:2], false, keepAll, []string{whole}},
		{"a new file synced", old[:3], false, loseAll, []string{whole}},
		{"a new file synced", old[:3], true, loseAll, []string{""}},
		{"the folder, too", old, true, loseAll, []string{whole}},
		{"overwritten", overwritten, false, loseAll, []string{whole}},
		{"overwritten", overwritten, false, keepAll, []string{"old:x256y512x256 "}},
		{"overwritten", overwritten, false, keepSome, []string{whole, "old:x256y512x256 "}},
		{"overwritten", overwritten, false, tearSome, []string{whole, "old:x256y256x512 ", "old:x512y256x256 ", "old:x256y512x256 "}},
		{"overwritten", overwritten, false, keepFirst, []string{whole, "old:x256y256x512 ", "old:x512y256x256 ", "old:x256y512x256 "}},
		{"replaced", replaced, false, loseAll, []string{"new:z512 " + whole}},
		{"replaced", replaced, true, loseAll, []string{whole}},
		{"replaced", replaced, true, keepAll, []string{"new:z512 "}},
		{"replaced", replaced, true, keepSome, []string{"", "new:z512 ", "new:z512 " + whole, whole}},
		{"cut", cut, false, loseAll, []string{whole}},
		{"cut", cut, false, keepSome, []string{whole, "old:x512 ", "old:x512y512 ", "old:x512\x00512 "}},
	} {
		disk := (&recording{ops: test.steps}).disk(test.strict, len(test.steps))
		seen := make(map[string]bool)
		for seed := range uint64(200) {
			seen[disk.cut(test.fate, rand.New(rand.NewPCG(seed, 0))).summary()] = true
		}
		want := slices.Sorted(slices.Values(test.want))
		if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) {
			t.Errorf("%s, strict %t, %v: got %q, want %q", test.name, test.strict, test.fate, got, want)
		}
	}
}

// summary gives each file's name and how often each letter follows itself in it.
func (s snapshot) summary() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, "%s:", name)
		for data := s[name].data; len(data) > 0; {
			n := len(data) - len(bytes.TrimLeft(data, string(data[:1])))
			fmt.Fprintf(&b, "%c%d", data[0], n)
			data = data[n:]
		}
		b.WriteByte(' ')
	}
	return b.String()
}
