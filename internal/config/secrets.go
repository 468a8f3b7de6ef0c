package config

import "pawl/tezos"

// hexNames are the names whose values may be long hex: blobs, and what old files say of handles.
var hexNames = map[string]bool{
	"secret_key": true, "secret_key_next": true, "private_handle": true, "public_handle": true,
}

// secrets reports each clear or encrypted secret in the value of that name, and in all that is
// within it: whoever reads keys.json, or a message about it, would have the key. Nothing of the
// file is used then.
func (r *report) secrets(name string, v value) {
	for _, m := range v.members {
		if secret := secretIn("", m.name); secret != "" {
			r.misplaced(m.value.path, "the name is "+secret)
		}
		r.secrets(m.name, m.value)
	}
	for _, item := range v.items {
		r.secrets(name, item)
	}
	text, _ := v.scalar.(string)
	if secret := secretIn(name, text); secret != "" {
		r.misplaced(v.path, secret)
	}
}

func (r *report) misplaced(path, what string) {
	r.invalid(path, "%s, which does not belong in keys.json: bring the key into the HSM with `pawl keys import`, "+
		"and put the blob here that it prints", what)
}

// secretIn names the secret in a text that stands under that name, or returns "".
func secretIn(name, text string) string {
	if secret := tezos.SecretIn(text); secret != "" {
		return secret
	}
	if tezos.IsHexSecret(text) && !hexNames[name] {
		return "what may be a secret in hex"
	}
	return ""
}
