package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"pawl/tezos"
)

// This file recognises what people take for the secret key that it holds, or leads to.

// notAKey returns an error that says which part of text is the secret key, or why it leads to none,
// and nil if text is to be read as a key. It quotes nothing of text but names and schemes.
func notAKey(text []byte) error {
	text = bytes.TrimSpace(text)
	switch {
	case bytes.HasPrefix(text, []byte("[")), bytes.HasPrefix(text, []byte("{")):
		return wallet(text)
	case shownSecret.Match(text):
		return withHint(errors.New("this is what octez-client show address prints"),
			"take what follows \"Secret Key: \", as in: sed -n 's/^Secret Key: //p' FILE | pawl keys import")
	case tezos.IsHexSecret(string(text)):
		return withHint(errors.New("hex does not say of which kind a key is"),
			"write a key as edsk…, spsk…, p2sk… or PEM; a seed is brought in with pawl keys seed --from FILE")
	}
	if scheme := locator.FindSubmatch(text); scheme != nil {
		return leadsTo(string(scheme[1]))
	}
	if tezos.SecretIn(string(text)) == "a mnemonic" {
		return withHint(errors.New("this is a mnemonic, not a key"),
			"compute its seed (BIP-39), bring that in with pawl keys seed --from FILE, and derive the key with pawl keys derive")
	}
	return nil
}

var (
	// shownSecret is a line of octez-client show address ALIAS --show-secret
	// (client_keys_commands.ml).
	shownSecret = regexp.MustCompile(`(?m)^Secret Key: *\S`)
	// locator is a secret key URI of Octez: a scheme and what it leads to (client_keys.ml).
	locator = regexp.MustCompile(`^([a-z][a-z0-9_+]{1,30}):`)
)

// leadsTo says what a locator leads to; nil for the two schemes whose text holds the key.
func leadsTo(scheme string) error {
	err := fmt.Errorf("this is a locator (%s:…), which says where a key is and does not hold it", scheme)
	switch scheme {
	case "unencrypted", "encrypted":
		return nil
	case "ledger":
		return withHint(err, "a key cannot leave a Ledger: make another in the HSM with pawl createtezoskey")
	case "aggregate_unencrypted", "aggregate_encrypted":
		return errors.New("this is a tz4 secret key: only tz1, tz2 and tz3 keys can be brought into the HSM")
	case "http", "https", "tcp", "unix", "remote":
		return withHint(err, "go to the signer that it names, and take the key from there: octez-signer keeps it in the "+
			"file secret_keys of its folder")
	}
	return withHint(err, "take the key from there, as edsk…, spsk…, p2sk…, one of their encrypted forms, or PEM")
}

// walletKey is one entry of secret_keys, the file of a wallet of Octez (client_aliases.ml). The
// value is looked at where it lies, and not kept.
type walletKey struct {
	Name  string      `json:"name"`
	Value walletValue `json:"value"`
}

// walletValue is what the value of a wallet's entry is: "clear", "encrypted", a scheme, or "".
type walletValue string

// UnmarshalJSON looks at the beginning of a value, which must be a text.
func (v *walletValue) UnmarshalJSON(data []byte) error {
	if !bytes.HasPrefix(data, []byte(`"`)) {
		return errors.New("not a text")
	}
	scheme := locator.FindSubmatch(bytes.TrimPrefix(data, []byte(`"`)))
	switch {
	case scheme == nil:
	case string(scheme[1]) == "unencrypted":
		*v = "clear"
	default:
		*v = walletValue(scheme[1])
	}
	return nil
}

// wallet is the error for JSON in the place of a key.
func wallet(text []byte) error {
	var keys []walletKey
	if err := json.Unmarshal(text, &keys); err != nil || len(keys) == 0 || keys[0].Value == "" {
		return withHint(errors.New("this is JSON, and not a secret key"),
			"take out the value that begins with edsk, spsk, p2sk, edesk, spesk or p2esk, without its quotes")
	}
	const most = 10 // more names make no line
	var names []string
	example := ""
	for _, key := range keys {
		name := tezos.Redact(fmt.Sprintf("%.40q", key.Name))
		if example == "" && (key.Value == "clear" || key.Value == "encrypted") {
			example = name
		}
		if len(names) < most {
			names = append(names, fmt.Sprintf("%s (%s)", name, key.Value))
		}
	}
	if more := len(keys) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	err := fmt.Errorf("this is secret_keys, the file of a wallet of Octez, with the keys %s", strings.Join(names, ", "))
	if example == "" {
		return withHint(err, "none of these values is a key: they are locators, which say where one is")
	}
	return withHint(err, "take the value of one of them, as in: jq -r '.[] | select(.name == %s).value' secret_keys | "+
		"pawl keys import", example)
}
