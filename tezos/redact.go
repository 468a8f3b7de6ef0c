package tezos

// This file finds secrets where none belong: in configurations, arguments and messages.

import (
	"regexp"
	"slices"
	"strings"
)

var (
	// secretForm58 matches the text forms of secret keys, whole or cut short. Their prefixes are
	// in secretForms and otherForms.
	secretForm58 = regexp.MustCompile(`\b(edsk|edesk|spsk|spesk|p2sk|p2esk|BLsk|BLesk|mdsk|mdesk)([0-9A-Za-z]+)`)
	// secretPEM matches a private key in PEM to its end, or to the end of the text.
	secretPEM = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`)
	// secretHex matches 16 bytes in hex or more: the shortest seed (BIP-39, BIP-32).
	secretHex = regexp.MustCompile(`[0-9A-Fa-f]{32,}`)
	onlyHex   = regexp.MustCompile(`^(0[xX])?[0-9A-Fa-f]{32,}(:[0-9]*)?$`)
	// mnemonicWord matches the words of BIP-39's list: three to eight letters.
	mnemonicWord = regexp.MustCompile(`^[a-z]{3,8}$`)
)

// secretDigits is how many digits must follow a prefix: less may be an innocent word.
const secretDigits = 16

// SecretIn names the secret that text holds, as in "a clear secret key (edsk…)", or returns "". It
// finds secret keys in the forms of Octez and in PEM, and mnemonics.
func SecretIn(text string) string {
	for _, match := range secretForm58.FindAllStringSubmatch(text, -1) {
		switch {
		case len(match[2]) < secretDigits:
		case strings.Contains(match[1], "esk"):
			return "an encrypted secret key (" + match[1] + "…)"
		default:
			return "a clear secret key (" + match[1] + "…)"
		}
	}
	switch {
	case secretPEM.MatchString(text):
		return "a private key in PEM"
	case isMnemonic(text):
		return "a mnemonic"
	}
	return ""
}

// isMnemonic reports whether text may be a sentence of BIP-39: 12, 15, 18, 21 or 24 words.
func isMnemonic(text string) bool {
	words := strings.Fields(text)
	return slices.Contains([]int{12, 15, 18, 21, 24}, len(words)) &&
		!slices.ContainsFunc(words, func(word string) bool { return !mnemonicWord.MatchString(word) })
}

// IsHexSecret reports whether the whole of text may be a secret in hex: 16 bytes or more, with or
// without 0x before and a port behind.
func IsHexSecret(text string) bool { return onlyHex.MatchString(strings.TrimSpace(text)) }

// RedactKeys replaces secret keys in text, whole or cut short: the forms of Octez but for their
// prefix, and PEM.
func RedactKeys(text string) string {
	return secretPEM.ReplaceAllString(secretForm58.ReplaceAllString(text, "$1"+redacted), redacted)
}

// Redact is RedactKeys that replaces 16 bytes in hex or more too, which may be a seed, and a text
// that is a mnemonic as a whole.
func Redact(text string) string {
	if isMnemonic(text) {
		return redacted
	}
	return secretHex.ReplaceAllString(RedactKeys(text), redacted)
}
