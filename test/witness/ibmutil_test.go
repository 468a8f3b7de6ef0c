package witness

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestIBMsConvertReadsTheCardsErrors runs IBM's util package, which cannot live in
// this binary, as a program.
func TestIBMsConvertReadsTheCardsErrors(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "ibmutil")
	built, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./ibmutil").CombinedOutput()
	if err != nil {
		t.Fatalf("building ibmutil: %v\n%s", err, built)
	}
	const perCurve = `bad-signature 0xc0 false
damaged-blob 0x80010004 false
public-as-private 0x63 false
wrong-mechanism 0x70 false
wrong-key-type 0x63 false
not-supported 0x54 false
`
	s := newScene(t)
	for name, address := range map[string]string{"card": s.card, "IBM's server": s.ibm} {
		command := exec.CommandContext(t.Context(), program, address)
		var stderr bytes.Buffer
		command.Stderr = &stderr
		got, err := command.Output()
		want := strings.Repeat(perCurve, len(curves))
		if name != "card" { // its generated code refuses Login without a Grep11Error, and Convert invents one
			want = strings.ReplaceAll(want, "not-supported 0x54 false", "not-supported 0x5 true")
		}
		if err != nil || string(got) != want {
			t.Errorf("%s: %v, %s\ngot:\n%s\nwant:\n%s", name, err, stderr.String(), got, want)
		}
	}
}
