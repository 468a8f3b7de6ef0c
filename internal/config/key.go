package config

import (
	"pawl/internal/ep11"
	"pawl/policy"
	"pawl/tezos"
)

func (p *parser) keys(v value) {
	p.hasKeys = true
	p.eachMember(v, p.key)
}

// key reads one entry. Its name is the hash of its public key.
func (p *parser) key(name string, v value) {
	var key KeySpec
	var public string
	var own *policy.Policy
	p.object(v, map[string]func(value){
		"signer":          p.signerKind,
		"public_key":      func(v value) { public = p.text(v) },
		"secret_key":      func(v value) { key.Blob = p.blob(v) },
		"secret_key_file": func(v value) { key.BlobFile = p.file(v) },
		"secret_key_next": func(v value) { key.NextBlob = p.nextBlob(v) },
		"db":              func(v value) { key.DB = p.file(v) },
		"policy":          func(v value) { own = p.readPolicy(v) },
		"ratchet":         p.ignored, "hsm_username": p.ignored, "hsm_slot": p.ignored, "hsm_lib": p.ignored,
		"private_handle": p.ignored, "public_handle": p.ignored,
	})
	_, inline := v.get("secret_key")
	if inline == (key.BlobFile != "") {
		p.invalid(v.path, "needs secret_key or secret_key_file, and one of them only")
	}
	p.checkNext(v.path+".secret_key_next", key)
	var ok bool
	if key.PublicKey, ok = p.publicKey(v.path, name, public); !ok {
		return
	}
	if own != nil {
		key.Policy = *own
	}
	p.cfg.Keys = append(p.cfg.Keys, key)
	p.ownPolicy = append(p.ownPolicy, own != nil)
}

// publicKey checks that the entry's name is the hash of its public key.
func (p *parser) publicKey(path, name, public string) (tezos.PublicKey, bool) {
	hash, err := tezos.ParsePublicKeyHash(name)
	if err != nil {
		p.invalid(path, "the name is not a public key hash: %v", err)
		return tezos.PublicKey{}, false
	}
	key, err := tezos.ParsePublicKey(public)
	switch {
	case public == "":
		p.invalid(path, "has no public_key")
	case err != nil:
		p.invalid(path+".public_key", "%v", err)
	case key.Hash() != hash:
		p.invalid(path+".public_key", "hashes to %v, not to the name of its entry", key.Hash())
	default:
		if key.Kind() == tezos.BLS12381 {
			p.unopenable(path, "tz4 keys cannot sign through GREP11 yet")
		}
		return key, true
	}
	return tezos.PublicKey{}, false
}

// blob reads the hex of a wrapped private key. An unreadable one does not make the file
// invalid; the daemon refuses to start with it.
func (p *parser) blob(v value) ep11.Blob {
	blob, err := ep11.ParseBlob(p.anyText(v))
	if err != nil {
		p.add(Unopenable, BadBlob, v.path, "%v", err)
		return nil
	}
	p.checkBlob(v.path, blob)
	return blob
}

// nextBlob reads a blob under the HSM's next master key. It is not compared with the blobs
// in use, and an unreadable one does not keep the key from signing with the blob in use.
func (p *parser) nextBlob(v value) ep11.Blob {
	blob, err := ep11.ParseBlob(p.anyText(v))
	if err != nil {
		p.add(Warning, BadNextBlob, v.path, "%v: `pawl keys rewrap` makes it anew", err)
		return nil
	}
	return blob
}
