package server

import "pawl/tezos"

// authenticationPrefix begins the bytes that a client signs: the watermark of signer requests and
// the tag of a sign request (Octez lib_signer_services/signer_messages.ml).
const authenticationPrefix = "\x04\x01"

// authenticate is Octez client authentication. It checks that one of the authorized keys signed
// 04 01 ‖ public key hash ‖ payload, and passes everything when authentication is off.
func (s *Server) authenticate(signature *tezos.Signature, hash tezos.PublicKeyHash, payload []byte) error {
	if s.authorized == nil {
		return nil
	}
	if signature == nil {
		return errNoAuthentication
	}
	signed := append([]byte(authenticationPrefix), hash[:]...)
	message := tezos.NewMessage(append(signed, payload...))
	for _, key := range s.authorized {
		if key.Verify(message, *signature) == nil {
			return nil
		}
	}
	return errAuthentication
}
