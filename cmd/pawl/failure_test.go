package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

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
		"usage":  {&usageError{text: "what", help: "pawl --help"}, 2, "pawl: error: what\nhint: see pawl --help\n"},
		"misuse": {fmt.Errorf("x: %w", &usageError{text: "what"}), 2, "pawl: error: x: what\n"},
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
