// Package ep11test has a key blob for tests, and a check that no output shows it.
package ep11test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pawl/internal/ep11"
)

// Blob is 512 bytes with a sound head and a body that is easy to recognise in any
// notation. Its key may sign, was made by the card and never left it.
func Blob() ep11.Blob {
	b := bytes.Repeat([]byte{0xc5, 0x97}, 256)
	clear(b[:66])
	copy(b[32:48], "master key no. 1")
	b[54], b[55] = 0x01, 0x26 // SIGN, LOCAL, NEVER_EXTRACTABLE, MODIFIABLE
	b[64], b[65] = 0x12, 0x34
	return b
}

// CheckHidden fails the test if text shows the body of Blob in any notation that Go
// prints. what names the text in the failure.
func CheckHidden(t *testing.T, what, text string) {
	t.Helper()
	for _, notation := range []string{
		"c597", "C597", "197 151", "197, 151", "0xc5", `\xc5`, "\xc5\x97", "\u0157", "xZfFl8", "l8WXxZ", "c5 97",
	} {
		if strings.Contains(text, notation) {
			t.Errorf("%s holds %q: the blob is in it", what, notation)
		}
	}
}

// CheckPrinted prints value with every verb, as JSON and through log/slog, and fails the
// test if any of them shows the body of Blob.
func CheckPrinted(t *testing.T, what string, value any) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d", "% x", "%t", "%z"} {
		CheckHidden(t, what+" with "+verb, fmt.Sprintf(verb, value))
	}
	if text, err := json.Marshal(value); err == nil {
		CheckHidden(t, what+" as JSON", string(text))
	}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("message", "value", value)
	slog.New(slog.NewTextHandler(&out, nil)).Info("message", "value", value)
	CheckHidden(t, what+" in a log", out.String())
}
