package server

import "pawl/tezos"

// signRequest is how the bytes begin that a client signs to have a payload
// signed: the watermark of signer requests and the tag of a sign request (Octez
// lib_signer_services/signer_messages.ml).
const signRequest = "\x04\x01"

// authenticate checks that one of the authorized keys signed
// 04 01 ‖ public key hash ‖ payload. It always passes when no authentication is
// asked for.
func (s *Server) authenticate(signature *tezos.Signature, hash tezos.PublicKeyHash, payload []byte) error {
	if s.authorized == nil {
		return nil
	}
	if signature == nil {
		return errNoAuthentication
	}
	signed := append([]byte(signRequest), hash[:]...)
	message := tezos.NewMessage(append(signed, payload...))
	for _, key := range s.authorized {
		if key.Verify(message, *signature) == nil {
			return nil
		}
	}
	return errAuthentication
}
