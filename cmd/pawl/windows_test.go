package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"pawl/internal/config"
	"pawl/internal/durable"
	"pawl/internal/ep11"
)

// asUTF16 is text as Windows writes what it calls Unicode.
func asUTF16(text string) string {
	var wide []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		wide = append(wide, byte(unit), byte(unit>>8))
	}
	return string(wide)
}

// Secrets that an editor of Windows wrote are read, or called what they are: keys, seeds, passphrases.
func TestSecretsOfWindows(t *testing.T) {
	t.Parallel()
	var noise bytes.Buffer
	s := &streams{&noise, &noise}
	key, err := (&keysImportCmd{secretSource: secretSource{secretFile(t, "\ufeffunencrypted:"+sandboxSecret+"\r\n")}}).secretKey(t.Context(), s)
	if err != nil || key.PublicKey().Hash().String() != sandboxHash {
		t.Errorf("a key with a byte order mark: %v", err)
	}
	seed, err := (&keysSeedCmd{From: secretFile(t, "\ufeff000102030405060708090a0b0c0d0e0f\r\n")}).seed(t.Context(), s)
	if err != nil || len(seed) != 16 {
		t.Errorf("a seed with a byte order mark: %x, %v", seed, err)
	}
	phrase, err := passphraseOf(secretFile(t, "\ufefffoo\r\n"))
	if err != nil || string(phrase) != "foo" {
		t.Errorf("a passphrase with a byte order mark: %q, %v", phrase, err)
	}
	_, keyErr := (&keysImportCmd{secretSource: secretSource{secretFile(t, asUTF16(sandboxSecret))}}).secretKey(t.Context(), s)
	_, seedErr := (&keysSeedCmd{From: secretFile(t, asUTF16("000102030405060708090a0b0c0d0e0f"))}).seed(t.Context(), s)
	_, phraseErr := passphraseOf(secretFile(t, asUTF16("foo")))
	_, blobErr := ep11.ReadBlob(secretFile(t, asUTF16("00")))
	for what, err := range map[string]error{"key": keyErr, "seed": seedErr, "passphrase": phraseErr, "blob": blobErr} {
		if !errors.Is(err, durable.ErrUTF16) || strings.Contains(err.Error(), sandboxSecret[4:]) {
			t.Errorf("%s in UTF-16: %v", what, err)
		}
	}
}

// A log has no more findings than its reader can mend at a time.
func TestLogOfManyFindings(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{0: 0, 50: 50, 60: 51} {
		var out bytes.Buffer
		warn(slog.New(slog.NewJSONHandler(&out, nil)), slices.Repeat([]config.Finding{{Severity: config.Warning, Text: "odd"}}, n))
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		var last struct{ More int }
		if n > 50 && (json.Unmarshal([]byte(lines[50]), &last) != nil || last.More != n-50) {
			t.Errorf("of %d the last line is %s", n, lines[50])
		}
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("of %d findings %d lines, want %d", n, got, want)
		}
	}
}
