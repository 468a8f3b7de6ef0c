package server

import "pawl/tezos"

// authenticationPrefix begins the bytes that a client signs: the watermark of signer requests and
// the tag of a sign request (Octez lib_signer_services/signer_messages.ml).
const authenticationPrefix = "\x04\x01"

// AuthenticationMessage is what a client signs to authenticate a sign request for the key that hashes to
// hash: 04 01 ‖ public key hash ‖ payload.
func AuthenticationMessage(hash tezos.PublicKeyHash, payload []byte) tezos.Message {
	signed := append([]byte(authenticationPrefix), hash[:]...)
	return tezos.NewMessage(append(signed, payload...))
}

// authenticate is Octez client authentication. It checks that one of the authorized keys signed
// AuthenticationMessage, and passes everything when authentication is off.
func (s *Server) authenticate(signature *tezos.Signature, hash tezos.PublicKeyHash, payload []byte) error {
	if s.authorized == nil {
		return nil
	}
	if signature == nil {
		return errNoAuthentication
	}
	message := AuthenticationMessage(hash, payload)
	for _, key := range s.authorized {
		if key.Verify(message, *signature) == nil {
			return nil
		}
	}
	return errAuthentication
}
