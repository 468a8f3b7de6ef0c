package tezos_test

import (
	"strings"
	"testing"

	"pawl/tezos"
)

// Secrets of test vectors, and what they are called.
var secrets = map[string]string{
	"edsk3gUfUPyBSfrS9CCgmCiQsTCHGkviBDusMxDJstFtojtc1zcpsh":                                                         "a clear secret key (edsk…)",
	"unencrypted:edskRuR1azSfboG86YPTyxrQgosh5zChf5bVDmptqLTb5EuXAm9rsnDYfTKhq7rDQujdn5WWzwUMeV3agaZ6J2vPQT58jJAJPi": "a clear secret key (edsk…)",
	"edsk3gUfUPyBSfrS9CCgm":                                                                                                      "a clear secret key (edsk…)", // cut short
	"spsk1zkqrmst1yg2c4xi3crWcZPqgdc9KtPtb9SAZWYHAdiQzdHy7j":                                                                     "a clear secret key (spsk…)",
	"p2sk35q9MJHLN1SBHNhKq7oho1vnZL28bYfsSKDUrDn2e4XVcp6ohZ":                                                                     "a clear secret key (p2sk…)",
	"BLsk1o1S8oAG76r3o3aJr1gbVhNdDnAMsdy1yMfwHLWwUHfAeyEXHV":                                                                     "a clear secret key (BLsk…)",
	"edesk1uiM6BaysskGto8pRtzKQqFqsy1sea1QRjTzaQYuBxYNhuN6eqEU78TGRXZocsVRJYcN7AaU9JDykwUd8KW":                                   "an encrypted secret key (edesk…)",
	"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n": "a private key in PEM",
	"legal winner thank year wave sausage worth useful legal winner thank yellow":                                                "a mnemonic",
}

func TestSecretIn(t *testing.T) {
	t.Parallel()
	for secret, want := range secrets {
		for _, text := range []string{secret, `"` + secret + `"`, " " + secret, "http://" + secret} {
			if want == "a mnemonic" && text != secret {
				continue
			}
			if got := tezos.SecretIn(text); got != want {
				t.Errorf("%q: %q, want %q", text, got, want)
			}
		}
	}
	for _, text := range []string{
		"", "edsk", "/etc/edsk/keys", "tz1KqTpEZ7Yob7QbPE4Hy4Wo8fHG8LhKxZSx",
		"edpkuBknW28nW72KG6RoHtYW7p12T6GKc7nAbwYX5m8Wd9sDVC9yav", "-----BEGIN CERTIFICATE-----", "localhost:9876",
		"this key is to be used for baking only", strings.Repeat("0a", 32),
	} {
		if got := tezos.SecretIn(text); got != "" {
			t.Errorf("%q: %q, want none", text, got)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	seed := strings.Repeat("0a", 16)
	for secret, name := range secrets {
		if name == "a mnemonic" {
			continue
		}
		text := tezos.RedactKeys("open " + secret + ": no such file")
		secret = strings.TrimPrefix(secret, "unencrypted:")
		for at := range len(secret) - 16 {
			if strings.Contains(text, secret[at:at+16]) {
				t.Errorf("%q is in %q", secret[at:at+16], text)
			}
		}
		if !strings.Contains(text, "[redacted]") {
			t.Errorf("%q: %q", secret, text)
		}
	}
	if got := tezos.RedactKeys(seed); got != seed {
		t.Errorf("hex may be a digest: %q", got)
	}
	for secret := range secrets {
		if got := tezos.Redact(secret); !strings.Contains(got, "[redacted]") {
			t.Errorf("%q: %q", secret, got)
		}
	}
	if got, want := tezos.Redact("a "+seed+" b"), "a [redacted] b"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for text, want := range map[string]bool{
		seed: true, "0x" + seed: true, seed + ":9876": true, " " + seed + "\n": true, seed[1:]: false, "x" + seed: false, "/" + seed: false,
	} {
		if got := tezos.IsHexSecret(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
