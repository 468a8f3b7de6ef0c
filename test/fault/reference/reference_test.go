package reference

import (
	"bytes"
	"go/parser"
	"go/token"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
)

// TestTable reads the table: no word of it is unknown, every layout has a chain id, a
// level and a round, and the offsets are those of octez's encodings.
func TestTable(t *testing.T) {
	t.Parallel()
	table, err := Load()
	if err != nil || len(table) != 9 {
		t.Fatalf("%d layouts, %v, want 9", len(table), err)
	}
	for _, l := range table {
		places := l.MarkBytes()
		if len(places) != 12 || l.shortest == 0 || len(l.keys) == 0 {
			t.Errorf("%+v is not complete", l)
		}
		levels := 1
		if strings.Contains(l.Name, "block") {
			levels = 2 // of the header and of the fitness
		}
		if len(places[0]) != 1 || len(places[4]) != levels || len(places[8]) != 1 {
			t.Errorf("%s: mark bytes at %v, want %d levels", l.Name, places, levels)
		}
	}
}

func TestTableIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"level 5", "layout a\nlevel", "layout a\nlevel five", "layout a\nrond 5", "layout a\nbytes 5 0g", "layout a\nlength 5 x",
	} {
		if _, err := parseTable(text); err == nil {
			t.Errorf("%q is read without an error", text)
		}
	}
}

// TestNatural: each number has one form, and only that is read.
func TestNatural(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		z    []byte
		want bool
	}{
		{[]byte{0x00}, true},
		{[]byte{0x3f}, true},
		{[]byte{0x80, 0x01}, true},
		{[]byte{0x80, 0x20}, true}, // 2048, octez-protocol
		{[]byte{0x40}, false},      // minus zero
		{[]byte{0x41}, false},      // minus one
		{[]byte{0x80, 0x00}, false},
		{[]byte{0x80}, false},
		{[]byte{0x01, 0x01}, false},
		{[]byte{0xc0, 0x01}, false},
	} {
		if got := isNatural(c.z); got != c.want {
			t.Errorf("%x: got %t, want %t", c.z, got, c.want)
		}
	}
	if got := encodeNatural(big.NewInt(2048)); !bytes.Equal(got, []byte{0x80, 0x20}) {
		t.Errorf("2048 is written as %x, want 8020", got)
	}
}

// TestSharesNothing: what judges pawl's parser must not be made of it.
func TestSharesNothing(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			if strings.HasPrefix(spec.Path.Value, `"pawl`) {
				t.Errorf("%s imports %s", file, spec.Path.Value)
			}
		}
	}
}
