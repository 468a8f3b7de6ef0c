package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pawl/internal/config"
)

func TestReport(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		code int
		want string
	}{
		"nothing": {nil, 0, ""},
		"failure": {errors.New("no way"), 1, "pawl: error: no way\n"},
		"lines":   {errors.Join(errors.New("one"), errors.New("two\r\n")), 1, "pawl: error: one; two\n"},
		"hint": {
			fmt.Errorf("outer: %w", withHint(errors.New("inner"), "try %s", "this")), 1,
			"pawl: error: outer: inner\nhint: try this\n",
		},
		"foreign": {errors.New("the server says \x1b[2J\x00 " + sandboxSecret), 1, "pawl: error: the server says �[2J� edsk[redacted]\n"},
		"usage":   {&usageError{text: "what", help: "pawl --help"}, 2, "pawl: error: what\nhint: see pawl --help\n"},
		"misuse":  {fmt.Errorf("x: %w", &usageError{text: "what"}), 2, "pawl: error: x: what\n"},
		"findings": {
			&findingsError{file: "keys.json", findings: []config.Finding{{Path: "url", Text: "missing"}, {Text: "empty"}}}, 1,
			"pawl: error: keys.json: url: missing\npawl: error: keys.json: empty\n",
		},
	} {
		var stderr bytes.Buffer
		if code := report(&stderr, test.err); code != test.code || stderr.String() != test.want {
			t.Errorf("%s: exit code %d, %q, want %d, %q", name, code, stderr.String(), test.code, test.want)
		}
	}
	for n, want := range map[int]string{50: "", 51: "pawl: error: k: and 1 finding more\n", 10050: "pawl: error: k: and 10000 findings more\n"} {
		var stderr bytes.Buffer
		report(&stderr, &findingsError{file: "k", findings: slices.Repeat([]config.Finding{{Text: "bad"}}, n)})
		if got := strings.TrimPrefix(stderr.String(), strings.Repeat("pawl: error: k: bad\n", 50)); got != want {
			t.Errorf("of %d findings: %q after 50, want %q", n, got, want)
		}
	}
	if withHint(nil, "unneeded") != nil {
		t.Error("withHint makes an error of nil")
	}
}

// A secret in the wrong place of the command line is not printed again.
func TestMisplacedSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	const seed = "000102030405060708090A0b0c0d0e0f"
	for _, line := range []string{
		sandboxSecret,
		"keys " + sandboxSecret,
		"keys import --" + sandboxSecret,
		"keys import --frm=" + sandboxSecret,
		"keys inspect " + sandboxSecret,
		"keys inspect " + sandboxSecret + "/" + sandboxSecret,
		"keys inspect " + strings.Repeat(seed, 10),
		"keys derive tz1 m/0h " + seed + " --seed x",
		"keys derive tz1 " + seed + " --seed x",
		"keys derive " + sandboxSecret + " m/0h --seed x",
		"createtezoskey " + strings.ToUpper(seed),
		"createtezoskey edesk1uiM6BaysskGto8pRtzKQqFqsy1sea1QRjTzaQYuBxYNhuN6eqEU78TGRXZocsVRJYcN7AaU9JDykwUd8KW",
	} {
		var out bytes.Buffer
		code := report(&out, run(t.Context(), append([]string{"pawl"}, strings.Fields(line)...), &out, &out))
		if code == 0 {
			t.Errorf("%s: exit code %d, %q", line, code, &out)
		}
		for _, secret := range []string{sandboxSecret[4:], seed, strings.ToUpper(seed), "uiM6"} {
			if strings.Contains(out.String(), secret) {
				t.Errorf("%s: shown: %q", line, &out)
			}
		}
	}
}

// An error names a path once, wherever it comes from. A command that mends it may name it again.
func TestErrorsNameAPathOnce(t *testing.T) {
	t.Parallel()
	spoil := map[string]func(path string) error{
		"missing":  func(string) error { return nil },
		"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"junk":     func(path string) error { return os.WriteFile(path, []byte("junk"), 0o600) },
		"JSON":     func(path string) error { return os.WriteFile(path, []byte(`{"keys": {}}`), 0o600) },
		"too open": func(path string) error {
			return errors.Join(os.WriteFile(path, []byte("x"), 0o600), os.Chmod(path, 0o666))
		},
		"below file":  func(path string) error { return os.WriteFile(filepath.Dir(path), nil, 0o600) },
		"half a card": func(path string) error { return os.MkdirAll(filepath.Join(path, "ca.pem"), 0o700) },
	}
	const loopback = "127.0.0.1:0"
	for name, do := range spoil {
		for _, line := range []string{
			"serve --config PATH --listen " + loopback + " --admin " + loopback,
			"check --timeout 1s --config PATH --admin 127.0.0.1:1",
			"keys list --config PATH", "keys inspect PATH", "keys rewrap --config PATH",
			"keys import --from PATH --config GOOD", "keys import --passphrase-file PATH --from SECRET --config GOOD",
			"keys derive tz1 m/0h --seed PATH --config GOOD", "keys seed --out PATH --config GOOD",
			"createtezoskey tz1 --dir PATH --config GOOD", "createtezoskey tz1 --config PATH --add",
			"ratchet init PATH", "ratchet init --config PATH", "ratchet show PATH --admin 127.0.0.1:1",
			"ratchet register " + sandboxHash + " --chain mainnet --from-level 1 --db PATH",
			"explain 0500036c --config PATH", "demo --dir PATH --card " + loopback + " --listen " + loopback + " --admin " + loopback,
			"softcard-key show --dir PATH",
		} {
			dir := t.TempDir()
			path := filepath.Join(dir, "below", "this")
			if name != "below file" {
				if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			secret, good := secretFile(t, "edesk1uiM6BaysskGto8pRtzKQqFqsy1sea1QRjTzaQYuBxYNhuN6eqEU78TGRXZocsVRJYcN7AaU9JDykwUd8KW"), filepath.Join(dir, "good.json")
			content := `{"url": "127.0.0.1:1", "cert_path": "c", "key_path": "k", "cacert_path": "a", "keys": {}}`
			if err := errors.Join(do(path), os.WriteFile(good, []byte(content), 0o600)); err != nil {
				t.Fatal(err)
			}
			args := strings.Fields(strings.NewReplacer("PATH", path, "GOOD", good, "SECRET", secret).Replace(line))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // of a demo that starts
			var out, errOut bytes.Buffer
			report(&errOut, run(ctx, append([]string{"pawl"}, args...), &out, &errOut))
			cancel()
			for text := range strings.Lines(errOut.String()) {
				text, _, _ = strings.Cut(text, ": chmod ")
				if strings.Count(text, path) > 1 {
					t.Errorf("%s, %s: %s", name, line, text)
				}
			}
		}
	}
}
